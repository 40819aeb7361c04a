package logs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FuzzReadFile: whatever a power failure has made of a log, its lines that are
// whole are read, and nothing keeps others from being read.
func FuzzReadFile(f *testing.F) {
	f.Add([]byte("2026-11-28T13:42:17.939136Z first\n2026-11-28T13:42:18.000000+02:00 \n2026-11-28T13:4"))
	f.Add(make([]byte, 3*maxLine))
	f.Add([]byte(strings.Repeat("x", 5*maxLine) + "\n2026-11-28T13:42:17.939136Z after\n"))
	f.Add([]byte("\r\n2026-11-28T13:42:17.939136Z \r\n"))
	const last = "the last line"
	f.Fuzz(func(t *testing.T, damaged []byte) {
		path := filepath.Join(t.TempDir(), "one.log")
		text := string(damaged) + "\n" + time.Unix(0, 0).UTC().Format(timeFormat) + " " + last + "\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		entries, err := readFile(path, "f", "one")
		if err != nil {
			t.Fatal(err)
		}
		if n := len(entries); n == 0 || entries[n-1].Text != last {
			t.Errorf("read %+v", entries)
		}
		for _, e := range entries {
			if e.Function != "f" || e.Instance != "one" || strings.Contains(e.Text, "\n") || !strings.Contains(text, e.Text) {
				t.Errorf("read %+v", e)
			}
		}
	})
}
