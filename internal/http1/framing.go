package http1

import "math"

// BodyKind says how the end of a body is found.
type BodyKind uint8

// The kinds of body.
const (
	NoBody     BodyKind = iota
	Sized               // Content-Length
	Chunked             // Transfer-Encoding: chunked
	UntilClose          // the end of the connection; responses only
)

// framing gathers the fields that say how long a body is.
type framing struct {
	length    int64
	hasLength bool
	hasCoding bool
}

func (f *framing) add(field *Field) error {
	switch field.Known {
	case ContentLength:
		if f.hasLength {
			return ErrLengthTwice
		}
		n, ok := parseLength(field.Value)
		if !ok {
			return ErrLength
		}
		f.length, f.hasLength = n, true
	case TransferEncoding:
		if f.hasCoding {
			return ErrTransferTwice
		}
		if !EqualFold(field.Value, "chunked") {
			return ErrTransfer
		}
		f.hasCoding = true
	case Trailer:
		return checkTrailer(field.Value)
	}
	return nil
}

// check applies what concerns the head as a whole (RFC 9112 section 6.1).
func (f *framing) check(minor int) error {
	switch {
	case f.hasCoding && f.hasLength:
		return ErrLengthAndTE
	case f.hasCoding && minor == 0:
		return ErrTransferOld
	}
	return nil
}

// parseLength reads 1*DIGIT up to the largest int64.
func parseLength(b []byte) (int64, bool) {
	if len(b) == 0 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		d := int64(c - '0')
		if n > (math.MaxInt64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}
