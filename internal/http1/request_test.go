package http1

import (
	"errors"
	"strings"
	"testing"
)

var testLimits = Limits{Target: 8 << 10, Fields: 100}

func parseRequest(raw string) (*Request, error) {
	end, err := HeadEnd([]byte(raw), 0)
	if err != nil {
		return nil, err
	}
	if end == 0 {
		return nil, errors.New("no whole head")
	}
	r := &Request{}
	return r, r.Parse([]byte(raw)[:end], testLimits)
}

// refusedRequests is the corpus of what smuggles, or would with a more
// tolerant recipient behind us. Each entry is a whole head.
var refusedRequests = []struct {
	name, raw string
	want      *Error
}{
	{"CL and TE", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", ErrLengthAndTE},
	{"TE and CL", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", ErrLengthAndTE},
	{"differing CL", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", ErrLengthTwice},
	{"duplicate CL", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", ErrLengthTwice},
	{"CL list", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n", ErrLength},
	{"CL plus", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n", ErrLength},
	{"CL minus", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\n", ErrLength},
	{"CL inner space", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3 4\r\n\r\n", ErrLength},
	{"CL hex", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n", ErrLength},
	{"CL empty", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", ErrLength},
	{"CL overflow", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n", ErrLength},
	{"CL far overflow", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999999\r\n\r\n", ErrLength},
	{"TE identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", ErrTransfer},
	{"TE list", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", ErrTransfer},
	{"TE chunked twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", ErrTransfer},
	{"TE xchunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", ErrTransfer},
	{"TE quoted", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", ErrTransfer},
	{"TE empty", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", ErrTransfer},
	{"TE vertical tab", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \vchunked\r\n\r\n", ErrFieldValue},
	{"TE fields twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", ErrTransferTwice},
	{"TE in 1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", ErrTransferOld},
	{"space before colon", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", ErrFieldSpace},
	{"tab before colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 3\r\n\r\n", ErrFieldSpace},
	{"obs-fold space", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", ErrFieldFold},
	{"obs-fold tab", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tTransfer-Encoding: chunked\r\n\r\n", ErrFieldFold},
	{"fold first", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", ErrFieldFold},
	{"bare LF in fields", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", ErrBareLF},
	{"bare LF request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", ErrRequestLine},
	{"bare CR in value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", ErrFieldValue},
	{"bare CR ends line", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rY: b\r\n\r\n", ErrFieldValue},
	{"CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\r\n\r\n", ErrFieldValue},
	{"NUL in value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", ErrFieldValue},
	{"DEL in value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", ErrFieldValue},
	{"control in value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x01\r\n\r\n", ErrFieldValue},
	{"NUL in name", "GET / HTTP/1.1\r\nHost: a\r\nX\x00: a\r\n\r\n", ErrFieldName},
	{"no colon", "GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", ErrFieldName},
	{"empty name", "GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n", ErrFieldName},
	{"name in parentheses", "GET / HTTP/1.1\r\nHost: a\r\nX(a): a\r\n\r\n", ErrFieldName},
	{"name not ASCII", "GET / HTTP/1.1\r\nHost: a\r\n\xc3\xa9: a\r\n\r\n", ErrFieldName},
	{"method with colon", "GE:T / HTTP/1.1\r\nHost: a\r\n\r\n", ErrMethod},
	{"method empty", " / HTTP/1.1\r\nHost: a\r\n\r\n", ErrMethod},
	{"method control", "GET\x00 / HTTP/1.1\r\nHost: a\r\n\r\n", ErrMethod},
	{"CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", ErrConnect},
	{"target with space", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"tab", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", ErrMethod},
	{"target control", "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"target NUL", "GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"target DEL", "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"target fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"target escaped NUL", "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"target broken escape", "GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"target bad escape", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"target relative", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"target star", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"target other scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"target user", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{"target too long", "GET /" + strings.Repeat("a", 8<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", ErrTargetLong},
	{"HTTP/0.9", "GET /\r\n\r\n", ErrRequestLine},
	{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\n", ErrVersion},
	{"HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", ErrVersion},
	{"HTTP/3.0", "GET / HTTP/3.0\r\nHost: a\r\n\r\n", ErrVersion},
	{"version lower case", "GET / http/1.1\r\nHost: a\r\n\r\n", ErrRequestLine},
	{"version with space", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", ErrRequestLine},
	{"version long", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", ErrRequestLine},
	{"no host", "GET / HTTP/1.1\r\nX: a\r\n\r\n", ErrHostMissing},
	{"no fields", "GET / HTTP/1.1\r\n\r\n", ErrHostMissing},
	{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", ErrHostTwice},
	{"two hosts in 1.0", "GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", ErrHostTwice},
	{"empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", ErrHost},
	{"host with path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", ErrHost},
	{"host with user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", ErrHost},
	{"host with space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", ErrHost},
	{"host list", "GET / HTTP/1.1\r\nHost: a, b/\r\n\r\n", ErrHost},
	{"host port", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", ErrHost},
	{"host port only", "GET / HTTP/1.1\r\nHost: :80\r\n\r\n", ErrHost},
	{"host bad IPv6", "GET / HTTP/1.1\r\nHost: [::g]\r\n\r\n", ErrHost},
	{"host zone", "GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n", ErrHost},
	{"host mismatch", "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", ErrHostMismatch},
	{"connection option", "GET / HTTP/1.1\r\nHost: a\r\nConnection: a b\r\n\r\n", ErrConnection},
	{"connection options", "GET / HTTP/1.1\r\nHost: a\r\nConnection: " + strings.Repeat("a,", 17) + "\r\n\r\n", ErrConnection},
	{"trailer announces framing", "POST / HTTP/1.1\r\nHost: a\r\nTrailer: Content-Length\r\n\r\n", ErrTrailer},
	{"many fields", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("a: b\r\n", 100) + "\r\n", ErrTooManyFields},
}

func TestRequestRefused(t *testing.T) {
	for _, tt := range refusedRequests {
		if _, err := parseRequest(tt.raw); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestBareLFIsRefusedBeforeTheHeadEnds(t *testing.T) {
	for _, raw := range []string{"\n", "GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost: a\r\n\n"} {
		for seen := range raw {
			_, first := HeadEnd([]byte(raw[:seen]), 0)
			_, second := HeadEnd([]byte(raw), seen)
			if !errors.Is(first, ErrBareLF) && !errors.Is(second, ErrBareLF) {
				t.Errorf("%q seen in two parts, the first of %d bytes: got %v and %v", raw, seen, first, second)
			}
		}
	}
}

func TestHeadEndInParts(t *testing.T) {
	raw := []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\nrest\n")
	want := len(raw) - len("rest\n")
	for seen := range want {
		if n, err := HeadEnd(raw[:seen], 0); n != 0 || err != nil {
			t.Fatalf("HeadEnd of %q = %d, %v", raw[:seen], n, err)
		}
		if n, err := HeadEnd(raw, seen); n != want || err != nil {
			t.Fatalf("HeadEnd with %d seen = %d, %v, want %d", seen, n, err, want)
		}
	}
}

func TestRequestAccepted(t *testing.T) {
	for _, tt := range []struct {
		raw   string
		check func(r *Request) bool
	}{
		{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", func(r *Request) bool { return r.Persistent && r.Body == NoBody && r.Minor == 1 }},
		{"GET / HTTP/1.0\r\n\r\n", func(r *Request) bool { return !r.Persistent && r.Minor == 0 && r.Host == nil }},
		{"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", func(r *Request) bool { return r.Persistent }},
		{"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", func(r *Request) bool { return !r.Persistent }},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: ,x , Close,\r\nX: 1\r\n\r\n", func(r *Request) bool {
			return !r.Persistent && r.Nominated(&r.Fields[2])
		}},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n", func(r *Request) bool { return !r.Nominated(&r.Fields[0]) }},
		{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\n", func(r *Request) bool { return r.Body == Sized && r.Length == 7 }},
		{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n", func(r *Request) bool { return r.Length == 1<<63-1 }},
		{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", func(r *Request) bool { return r.Body == NoBody && r.HasLength() }},
		{"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: ChUnKeD \r\n\r\n", func(r *Request) bool { return r.Body == Chunked }},
		{"GET /?%zz HTTP/1.1\r\nHost: a\r\n\r\n", func(r *Request) bool { return string(r.Target) == "/?%zz" }},
		{"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", func(r *Request) bool { return string(r.Target) == "/\xff" }},
		{"GET HTTP://A:80?x HTTP/1.1\r\nHost: a:80\r\n\r\n", func(r *Request) bool { return string(r.Target) == "/?x" }},
		{"GET http://a HTTP/1.0\r\n\r\n", func(r *Request) bool { return string(r.Target) == "/" && string(r.Host) == "a" }},
		{"OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", func(r *Request) bool { return string(r.Target) == "*" }},
		{"GET / HTTP/1.1\r\nHost: a\r\nX:\t a\tb \r\nY:\r\n\r\n", func(r *Request) bool {
			return string(r.Fields[1].Value) == "a\tb" && len(r.Fields[2].Value) == 0
		}},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", func(r *Request) bool { return string(r.Upgrade) == "websocket" }},
		{"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", func(r *Request) bool { return r.Upgrade == nil }},
		{"GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", func(r *Request) bool { return r.Upgrade == nil }},
		{"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n", func(r *Request) bool { return r.ExpectContinue }},
		{"PUT / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", func(r *Request) bool { return !r.ExpectContinue }},
	} {
		r, err := parseRequest(tt.raw)
		if err != nil {
			t.Errorf("%q: %v", tt.raw, err)
		} else if !tt.check(r) {
			t.Errorf("%q: got %+v", tt.raw, r)
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	head := []byte("GET /invoke/f/x?y=z HTTP/1.1\r\nHost: a:8123\r\nUser-Agent: x\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n")
	r := &Request{Fields: make([]Field, 0, 16)}
	if n := testing.AllocsPerRun(100, func() {
		if err := r.Parse(head, testLimits); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("parsing a request allocates %v times", n)
	}
}

func TestAlias(t *testing.T) {
	for name, want := range map[string]Name{
		"X_Forwarded_For": XForwardedFor, "content_length": ContentLength, "Transfer_encoding": TransferEncoding,
		"x-request_id": XRequestID, "X-Forwarded-For": Other, "api_key": Other, "a_very_long_name_of_a_field": Other,
	} {
		if got := Alias([]byte(name)); got != want {
			t.Errorf("Alias(%q) = %d, want %d", name, got, want)
		}
	}
}
