package http1

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// decodeAll feeds raw in pieces of step bytes.
func decodeAll(raw []byte, step int) (data, trailer []byte, used int, err error) {
	var d ChunkDecoder
	for used < len(raw) && !d.Done() {
		piece := raw[used:min(len(raw), used+step)]
		for len(piece) > 0 && !d.Done() {
			out, n, err := d.Decode(piece)
			if err != nil {
				return data, nil, used + n, err
			}
			data = append(data, out...)
			used += n
			piece = piece[n:]
		}
	}
	if !d.Done() {
		return data, nil, used, errUnfinished
	}
	return data, d.Trailer(), used, nil
}

var errUnfinished = errors.New("body is not complete")

func TestChunkedAccepted(t *testing.T) {
	for _, tt := range []struct{ raw, data, trailer string }{
		{"0\r\n\r\n", "", ""},
		{"000000000000000000000\r\n\r\n", "", ""},
		{"3\r\nabc\r\n0\r\n\r\n", "abc", ""},
		{"3;x=\"y\"\r\nabc\r\nA\r\n0123456789\r\n00\r\n\r\n", "abc0123456789", ""},
		{"1\r\n\n\r\n0\r\nX: y\r\nZ: \r\n\r\n", "\n", "X: y\r\nZ: \r\n"},
	} {
		for step := 1; step <= len(tt.raw); step++ {
			data, trailer, used, err := decodeAll([]byte(tt.raw+"GET"), step)
			if err != nil || string(data) != tt.data || string(trailer) != tt.trailer || used != len(tt.raw) {
				t.Errorf("%q in steps of %d: got %q, %q, used %d, %v", tt.raw, step, data, trailer, used, err)
			}
		}
	}
}

func TestChunkedRefused(t *testing.T) {
	for _, tt := range []struct {
		raw  string
		want error
	}{
		{"\r\n", ErrChunkSize}, {" 3\r\nabc\r\n", ErrChunkSize}, {"3 \r\nabc\r\n", ErrChunkSize},
		{"0x3\r\nabc\r\n", ErrChunkSize}, {"+3\r\nabc\r\n", ErrChunkSize}, {"-3\r\nabc\r\n", ErrChunkSize},
		{"g\r\n", ErrChunkSize}, {";a\r\n", ErrChunkSize}, {"3\nabc\r\n", ErrChunkSize}, {"3\rabc\r\n", ErrChunkSize},
		{"8000000000000000\r\n", ErrChunkSize}, {"10000000000000003\r\nabc\r\n", ErrChunkSize},
		{"ffffffffffffffff\r\n", ErrChunkSize},
		{"3;a\nabc\r\n", ErrChunkExtension}, {"3;\x00\r\n", ErrChunkExtension},
		{"3;" + strings.Repeat("a", maxChunkLine+1), ErrChunkExtension},
		{strings.Repeat("1;"+strings.Repeat("a", maxChunkLine)+"\r\nx\r\n", 100), ErrChunkExtension},
		{"3\r\nabcd\r\n", ErrChunkEnd}, {"3\r\nabc\n", ErrChunkEnd}, {"3\r\nabc\rx", ErrChunkEnd}, {"3\r\nabc0\r\n", ErrChunkEnd},
		{"0\r\nX: y\n\r\n", ErrBareLF}, {"0\r\n\n", ErrBareLF}, {"0\r\n X: y\r\n\r\n", ErrFieldFold},
		{"0\r\nX : y\r\n\r\n", ErrFieldSpace}, {"0\r\nGET / HTTP/1.1\r\n\r\n", ErrFieldSpace}, {"0\r\nX: \x00\r\n\r\n", ErrFieldValue},
		{"0\r\n" + strings.Repeat("X: y\r\n", maxTrailer), ErrTrailerLarge},
	} {
		for _, step := range []int{1, 7, len(tt.raw)} {
			if _, _, _, err := decodeAll([]byte(tt.raw), step); !errors.Is(err, tt.want) {
				t.Errorf("%.40q in steps of %d: got %v, want %v", tt.raw, step, err, tt.want)
			}
		}
	}
}

func TestChunkedErrorIsFinal(t *testing.T) {
	var d ChunkDecoder
	if _, _, err := d.Decode([]byte("3\r\nabcX")); err != nil {
		t.Fatal(err) // the data comes first
	}
	for _, rest := range []string{"X", "\r\n0\r\n\r\n", "0\r\n\r\n"} {
		if _, n, err := d.Decode([]byte(rest)); !errors.Is(err, ErrChunkEnd) || n != 0 || d.Done() {
			t.Errorf("after an error, %q: used %d, %v, done %v", rest, n, err, d.Done())
		}
	}
}

func TestLastChunkDropsForbiddenTrailers(t *testing.T) {
	trailer := "X-Sum: 1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nHost: x\r\nTransfer_Encoding: chunked\r\nAuthorization: x\r\n"
	if got, want := string(AppendLastChunk(nil, []byte(trailer))), "0\r\nX-Sum: 1\r\n\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestChunkedAllocatesNothing(t *testing.T) {
	raw := []byte("3\r\nabc\r\n0\r\n\r\n")
	var d ChunkDecoder
	d.trailer = make([]byte, 0, 16)
	if n := testing.AllocsPerRun(100, func() {
		d.Reset()
		for in := raw; !d.Done(); {
			_, n, err := d.Decode(in)
			if err != nil {
				t.Fatal(err)
			}
			in = in[n:]
		}
	}); n != 0 {
		t.Errorf("decoding allocates %v times", n)
	}
}

func TestAppendChunk(t *testing.T) {
	b := AppendChunkSize(nil, 26)
	b = append(b, bytes.Repeat([]byte("x"), 26)...)
	b = append(b, "\r\n"...)
	b = AppendLastChunk(b, nil)
	data, _, used, err := decodeAll(b, len(b))
	if err != nil || len(data) != 26 || used != len(b) {
		t.Errorf("decoding what was encoded gives %d bytes, used %d of %d, %v", len(data), used, len(b), err)
	}
}
