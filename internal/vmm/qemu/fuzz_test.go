package qemu

import (
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// FuzzEnd: whatever QEMU says of its end, there is one line for people.
func FuzzEnd(f *testing.F) {
	f.Add([]byte(`{"guest": true, "reason": "guest-reset"}`), "qemu-system-x86_64: a\nb\r\n", uint32(0))
	f.Add([]byte(`[]`), "", uint32(0x100))
	f.Add([]byte(nil), "\n", uint32(9))
	f.Fuzz(func(t *testing.T, data []byte, words string, status uint32) {
		e := end{status: unix.WaitStatus(status), known: true, told: parseShutdown(data), words: words}
		for range 2 {
			reason := e.exit().Reason
			if reason == "" || strings.Contains(reason, "\n") || utf8.ValidString(words) && !utf8.ValidString(reason) {
				t.Errorf("got %q", reason)
			}
			e.told = nil
		}
	})
}
