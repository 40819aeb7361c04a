package http1

import (
	"errors"
	"testing"
)

func parseResponse(raw string, toHead bool) (*Response, error) {
	end, err := HeadEnd([]byte(raw), 0)
	if err != nil {
		return nil, err
	}
	if end == 0 {
		return nil, errors.New("no whole head")
	}
	r := &Response{}
	return r, r.Parse([]byte(raw)[:end], toHead, 100)
}

var refusedResponses = []struct {
	raw  string
	want *Error
}{
	{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", ErrLengthAndTE},
	{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", ErrLengthTwice},
	{"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", ErrLength},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", ErrTransfer},
	{"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ErrTransferOld},
	{"HTTP/1.1 200 OK\nContent-Length: 1\r\n\r\n", ErrStatusLine},
	{"HTTP/1.1 200 O\x00K\r\n\r\n", ErrStatusLine},
	{"HTTP/1.1 200 O\rK\r\n\r\n", ErrStatusLine},
	{"HTTP/1.1 099 X\r\n\r\n", ErrStatusLine},
	{"HTTP/1.1 600 X\r\n\r\n", ErrStatusLine},
	{"HTTP/1.1 2000 X\r\n\r\n", ErrStatusLine},
	{"HTTP/1.1 20 X\r\n\r\n", ErrStatusLine},
	{"HTTP/1.1  200 X\r\n\r\n", ErrStatusLine},
	{"HTTP/2.0 200 OK\r\n\r\n", ErrStatusLine},
	{"ICY 200 OK\r\n\r\n", ErrStatusLine},
	{"SSH-2.0-x\r\n\r\n", ErrStatusLine},
	{"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", ErrFieldFold},
	{"HTTP/1.1 200 OK\r\nX : a\r\n\r\n", ErrFieldSpace},
	{"HTTP/1.1 200 OK\r\nX: a\x00\r\n\r\n", ErrFieldValue},
	{"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\n\r\n", ErrFieldValue},
	{"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", ErrFieldName},
}

func TestResponseRefused(t *testing.T) {
	for _, tt := range refusedResponses {
		if _, err := parseResponse(tt.raw, false); !errors.Is(err, tt.want) {
			t.Errorf("%q: got %v, want %v", tt.raw, err, tt.want)
		}
	}
}

func TestResponseFraming(t *testing.T) {
	for _, tt := range []struct {
		raw        string
		toHead     bool
		kind       BodyKind
		length     int64
		persistent bool
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, Sized, 5, true},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, NoBody, 5, true},
		{"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", false, NoBody, 0, true},
		{"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n", false, Chunked, 0, true},
		{"HTTP/1.1 200 OK\r\n\r\n", false, UntilClose, 0, false},
		{"HTTP/1.1 200 OK\r\n\r\n", true, NoBody, 0, true},
		{"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", false, Sized, 5, false},
		{"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", false, Sized, 5, true},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", false, Sized, 5, false},
		{"HTTP/1.1 204 No\r\n\r\n", false, NoBody, 0, true},
		{"HTTP/1.1 304 No\r\nContent-Length: 9\r\n\r\n", false, NoBody, 9, true},
		{"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", false, NoBody, 0, true},
	} {
		r, err := parseResponse(tt.raw, tt.toHead)
		if err != nil {
			t.Errorf("%q: %v", tt.raw, err)
		} else if r.Body != tt.kind || r.Length != tt.length || r.Persistent != tt.persistent {
			t.Errorf("%q: got body %d of %d, persistent %v", tt.raw, r.Body, r.Length, r.Persistent)
		}
	}
}
