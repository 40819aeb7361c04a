package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

// FuzzRequest checks that whatever is accepted, net/http accepts too and
// understands as the same message.
func FuzzRequest(f *testing.F) {
	for _, tt := range refusedRequests {
		f.Add([]byte(tt.raw))
	}
	for _, raw := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /x?y HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
		"PUT http://a/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
		"OPTIONS * HTTP/1.0\r\n\r\n",
		"GET //a HTTP/1.1\r\nHost: [::1]\r\nConnection: close, x\r\n\r\n",
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		end, err := HeadEnd(raw, 0)
		if err != nil || end == 0 {
			return
		}
		var r Request
		if r.Parse(raw[:end], testLimits) != nil {
			return
		}
		theirs, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			t.Fatalf("accepted %q, which net/http refuses: %v", raw, err)
		}
		compareRequests(t, &r, theirs)
		compareBodies(t, &r, theirs, raw[end:])
	})
}

func compareRequests(t *testing.T, r *Request, theirs *http.Request) {
	t.Helper()
	target := theirs.RequestURI
	if theirs.URL.IsAbs() {
		_, rest, _ := strings.Cut(target, "://")
		if i := strings.IndexAny(rest, "/?"); i < 0 {
			target = "/"
		} else if target = rest[i:]; target[0] == '?' {
			target = "/" + target
		}
	}
	switch {
	case string(r.Method) != theirs.Method:
		t.Fatalf("method %q, net/http has %q", r.Method, theirs.Method)
	case string(r.Target) != target:
		t.Fatalf("target %q, net/http has %q", r.Target, target)
	case !strings.EqualFold(string(r.Host), theirs.Host):
		t.Fatalf("host %q, net/http has %q", r.Host, theirs.Host)
	case r.Minor != theirs.ProtoMinor:
		t.Fatalf("minor version %d, net/http has %d", r.Minor, theirs.ProtoMinor)
	case r.Persistent == theirs.Close && r.Minor == 1:
		t.Fatalf("persistent is %v, net/http's Close %v", r.Persistent, theirs.Close)
	}
	want := http.Header{}
	for i := range r.Fields {
		switch f := &r.Fields[i]; f.Known {
		case Host, Trailer, TransferEncoding: // net/http takes these out
		default:
			want.Add(string(f.Name), string(f.Value))
		}
	}
	theirs.Header.Del("Transfer-Encoding")
	theirs.Header.Del("Trailer")
	if want.Get("Pragma") != "" {
		want.Del("Cache-Control") // net/http adds one for a Pragma
		theirs.Header.Del("Cache-Control")
	}
	if len(want) != len(theirs.Header) {
		t.Fatalf("fields %v, net/http has %v", want, theirs.Header)
	}
	for name, values := range want {
		if strings.Join(values, "\x00") != strings.Join(theirs.Header[name], "\x00") {
			t.Fatalf("field %q is %q, net/http has %q", name, values, theirs.Header[name])
		}
	}
}

func compareBodies(t *testing.T, r *Request, theirs *http.Request, rest []byte) {
	t.Helper()
	body, bodyErr := io.ReadAll(theirs.Body)
	switch r.Body {
	case NoBody:
		if theirs.ContentLength != 0 || len(theirs.TransferEncoding) > 0 {
			t.Fatalf("no body, net/http has %d bytes, coding %q", theirs.ContentLength, theirs.TransferEncoding)
		}
	case Sized:
		if theirs.ContentLength != r.Length {
			t.Fatalf("body of %d bytes, net/http has %d", r.Length, theirs.ContentLength)
		}
	case Chunked:
		if theirs.ContentLength != -1 {
			t.Fatalf("chunked body, net/http has %d bytes", theirs.ContentLength)
		}
		data, _, _, err := decodeAll(rest, len(rest)+1)
		if err == nil && (bodyErr != nil || !bytes.Equal(data, body)) {
			t.Fatalf("body %q, net/http has %q, %v", data, body, bodyErr)
		}
	}
}

// FuzzResponse checks the same of responses.
func FuzzResponse(f *testing.F) {
	for _, tt := range refusedResponses {
		f.Add([]byte(tt.raw), false)
	}
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), false)
	f.Add([]byte("HTTP/1.0 404\r\nConnection: close\r\n\r\n"), true)
	f.Add([]byte("HTTP/1.1 204 x\r\n\r\n"), false)
	f.Fuzz(func(t *testing.T, raw []byte, toHead bool) {
		end, err := HeadEnd(raw, 0)
		if err != nil || end == 0 {
			return
		}
		var r Response
		if r.Parse(raw[:end], toHead, 100) != nil {
			return
		}
		req := &http.Request{Method: "GET"}
		if toHead {
			req.Method = "HEAD"
		}
		theirs, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), req)
		if err != nil {
			t.Fatalf("accepted %q, which net/http refuses: %v", raw, err)
		}
		defer func() { _ = theirs.Body.Close() }()
		switch {
		case r.Status != theirs.StatusCode:
			t.Fatalf("status %d, net/http has %d", r.Status, theirs.StatusCode)
		case r.Body == Sized && theirs.ContentLength != r.Length:
			t.Fatalf("body of %d bytes, net/http has %d", r.Length, theirs.ContentLength)
		case r.Body == Chunked && len(theirs.TransferEncoding) != 1:
			t.Fatal("chunked, but not for net/http")
		case r.Body == UntilClose && (theirs.ContentLength != -1 || !theirs.Close):
			t.Fatalf("until close, net/http has %d bytes", theirs.ContentLength)
		}
	})
}

// FuzzChunked checks that however a body comes in, it is understood alike,
// and as net/http understands it.
func FuzzChunked(f *testing.F) {
	f.Add([]byte("3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n"), 1)
	f.Add([]byte("ffffffffffffffff\r\n"), 3)
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\nGET"), 2)
	f.Fuzz(func(t *testing.T, raw []byte, step int) {
		whole, trailer, used, err := decodeAll(raw, len(raw)+1)
		parts, trailer2, used2, err2 := decodeAll(raw, 1+max(0, step)%64)
		if (err == nil) != (err2 == nil) || !bytes.Equal(whole, parts) || !bytes.Equal(trailer, trailer2) || used != used2 {
			t.Fatalf("at once: %q %q %d %v; in parts: %q %q %d %v", whole, trailer, used, err, parts, trailer2, used2, err2)
		}
		if err != nil {
			return
		}
		message := append([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), raw...)
		theirs, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(message)))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(theirs.Body)
		if err != nil || !bytes.Equal(body, whole) {
			t.Fatalf("body %q, net/http has %q, %v", whole, body, err)
		}
	})
}
