package http1

import "bytes"

var emptyLine = []byte("\r\n\r\n")

// HeadEnd returns the length of the head that b begins with, up to and with
// its empty line, or 0 when b holds no whole head yet. seen is how much of b
// an earlier call has looked at. A bare LF is refused as soon as it is there:
// its sender may think that its head is over and wait for an answer.
func HeadEnd(b []byte, seen int) (int, error) {
	from := max(0, seen-len(emptyLine)+1)
	if i := bytes.Index(b[from:], emptyLine); i >= 0 {
		return from + i + len(emptyLine), nil
	}
	for i := from; i < len(b); i++ {
		j := bytes.IndexByte(b[i:], '\n')
		if j < 0 {
			break
		}
		if i += j; i == 0 || b[i-1] != '\r' {
			return 0, ErrBareLF
		}
	}
	return 0, nil
}

// cutLine splits b behind its first CRLF.
func cutLine(b []byte) (line, rest []byte, ok bool) {
	i := bytes.IndexByte(b, '\r')
	if i < 0 || i+1 >= len(b) || b[i+1] != '\n' {
		return nil, nil, false
	}
	return b[:i], b[i+2:], true
}
