package http1

import "strconv"

// AppendField appends a field line.
func AppendField(dst []byte, name string, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// Append appends f as a field line.
func (f *Field) Append(dst []byte) []byte {
	dst = append(dst, f.Name...)
	dst = append(dst, ": "...)
	dst = append(dst, f.Value...)
	return append(dst, "\r\n"...)
}

// AppendLength appends a Content-Length field line.
func AppendLength(dst []byte, n int64) []byte {
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, "\r\n"...)
}

// AppendChunked appends the field line that announces a chunked body.
func AppendChunked(dst []byte) []byte {
	return append(dst, "Transfer-Encoding: chunked\r\n"...)
}

// AppendStatusLine appends the status line of an HTTP/1.1 response.
func AppendStatusLine(dst []byte, status int, reason []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, reason...)
	return append(dst, "\r\n"...)
}

// AppendChunkSize appends the line that begins a chunk of n bytes. The
// chunk's data and a CRLF follow.
func AppendChunkSize(dst []byte, n int) []byte {
	dst = strconv.AppendInt(dst, int64(n), 16)
	return append(dst, "\r\n"...)
}

// AppendLastChunk appends the end of a chunked body with the fields of
// trailer, field lines as [ChunkDecoder.Trailer] returns them, that may be
// passed on.
func AppendLastChunk(dst, trailer []byte) []byte {
	dst = append(dst, "0\r\n"...)
	if len(trailer) > 0 {
		fields, err := ParseFields(nil, trailer, maxTrailerFields)
		if err == nil {
			for i := range fields {
				if fields[i].TrailerAllowed() {
					dst = fields[i].Append(dst)
				}
			}
		}
	}
	return append(dst, "\r\n"...)
}
