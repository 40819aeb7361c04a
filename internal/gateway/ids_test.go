package gateway

import (
	"bytes"
	"strings"
	"testing"
)

func FuzzIDs(f *testing.F) {
	f.Add([]byte("0af7651916cd43dd8448eb211c80319c"))
	f.Add([]byte("a b\r\n"))
	f.Add(bytes.Repeat([]byte("a"), maxRequestID+1))
	f.Add([]byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
	f.Add([]byte("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"))
	f.Add([]byte("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
	f.Add([]byte("00-00000000000000000000000000000000-b7ad6b7169203331-01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if validID(b) && (len(b) == 0 || len(b) > maxRequestID || bytes.ContainsAny(b, " \t\r\n\x00\"'<>\\;,$`&|%(){}[]*?!#~^")) {
			t.Errorf("the request id %q is taken", b)
		}
		if !validTraceparent(b) {
			return
		}
		parts := strings.SplitN(string(b), "-", 5)
		if len(parts) < 4 || len(parts[0]) != 2 || len(parts[1]) != 32 || len(parts[2]) != 16 || len(parts[3]) != 2 {
			t.Fatalf("the trace %q is taken", b)
		}
		for _, p := range parts[:4] {
			if strings.Trim(p, "0123456789abcdef") != "" {
				t.Errorf("the trace %q is taken", b)
			}
		}
		if parts[0] == "ff" || parts[0] == "00" && len(parts) > 4 || strings.Trim(parts[1], "0") == "" || strings.Trim(parts[2], "0") == "" {
			t.Errorf("the trace %q is taken", b)
		}
	})
}

// What is made here is what is taken there.
func TestOwnTraceparentIsValid(t *testing.T) {
	for range 1000 {
		line := string(appendTraceparent(nil))
		value := strings.TrimSuffix(strings.TrimPrefix(line, "traceparent: "), "\r\n")
		if len(line) != len("traceparent: ")+len(value)+2 || !validTraceparent([]byte(value)) {
			t.Fatalf("made %q", line)
		}
		if id := appendHex(nil, 1, 2); !validID(id) {
			t.Fatalf("made %q", id)
		}
	}
}
