package wire_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/internal/guest/linux/wire"
)

type frame struct {
	Kind    wire.Kind
	Payload string
}

// read reads all frames, and returns the error after them.
func read(b []byte) (all []frame, err error) {
	r := wire.NewReader(bytes.NewReader(b))
	for {
		kind, payload, err := r.Next()
		if err != nil {
			return all, err
		}
		all = append(all, frame{kind, string(payload)})
	}
}

// split finds all frames in pieces of n bytes.
func split(b []byte, n int) (all []frame, err error) {
	var s wire.Splitter
	for len(b) > 0 {
		n = min(n, len(b))
		s.Write(b[:n])
		b = b[n:]
		for {
			kind, payload, ok, err := s.Next()
			if err != nil {
				return all, err
			}
			if !ok {
				break
			}
			all = append(all, frame{kind, string(payload)})
		}
	}
	return all, nil
}

func TestFrames(t *testing.T) {
	b := wire.Append(nil, wire.KindOutput, []byte("hello"))
	b = wire.Append(b, wire.KindOutput, nil)
	b = wire.AppendJSON(b, wire.KindExit, wire.Exit{Code: -1, Signal: 9})
	want := []frame{
		{wire.KindOutput, "hello"},
		{wire.KindOutput, ""},
		{wire.KindExit, `{"Code":-1,"Signal":9,"OutOfMemory":false,"Reason":"","NS":0}`},
	}
	if got := []byte("O\x00\x00\x00\x05hello"); !bytes.HasPrefix(b, got) {
		t.Errorf("got % x", b[:10])
	}
	got, err := read(b)
	if diff := cmp.Diff(want, got); diff != "" || !errors.Is(err, io.EOF) {
		t.Errorf("read, %v (-want +got):\n%s", err, diff)
	}
	for n := range b {
		got, err := split(b, n+1)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("in pieces of %d, %v (-want +got):\n%s", n+1, err, diff)
		}
	}
	if _, err := read(b[:len(b)-1]); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut off: got %v", err)
	}
}

func TestTooLong(t *testing.T) {
	b := []byte{'O', 0, 1, 0, 1}
	if _, err := read(b); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read: got %v", err)
	}
	if _, err := split(b, 5); err == nil {
		t.Error("split: no error")
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(wire.Append(nil, wire.KindOutput, []byte("hello")), 3)
	f.Add([]byte{'X', 0xff, 0xff, 0xff, 0xff}, 1)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		one, err := read(b)
		other, err2 := split(b, max(n, 1))
		if diff := cmp.Diff(one, other); diff != "" {
			t.Errorf("reader (%v) and splitter (%v) differ:\n%s", err, err2, diff)
		}
	})
}
