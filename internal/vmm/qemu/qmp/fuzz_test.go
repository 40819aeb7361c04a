package qmp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"testing"
)

// FuzzMessages: whatever a server sends, each message is one thing, and what is
// none ends the reading.
func FuzzMessages(f *testing.F) {
	f.Add([]byte(`{"QMP": {"version": {"qemu": {"major": 7}}}}` + "\r\n" + `{"return": {}, "id": 1}` + "\n"))
	f.Add([]byte(`{"event": "STOP", "data": null, "timestamp": {"seconds": 1e9}}` + "\n"))
	f.Add([]byte(`{"error": {"class": "a", "desc": "b"}, "id": -1}` + "\n"))
	f.Add([]byte("\n\n[]\n"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		in := bufio.NewReaderSize(bytes.NewReader(sent), maxMessage)
		for {
			m, err := readMessage(in)
			var wrong *ProtocolError
			if errors.Is(err, io.EOF) || errors.As(err, &wrong) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if m.Greeting == nil && m.Return == nil && m.Error == nil && m.Event == "" {
				t.Errorf("%q: a message that is nothing", sent)
			}
		}
	})
}
