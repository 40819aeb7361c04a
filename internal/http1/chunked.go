package http1

import "math"

const (
	maxChunkLine  = 256      // bytes of one chunk's extension
	maxExtensions = 16 << 10 // bytes of extensions in one body
	maxTrailer    = 8 << 10  // bytes of a trailer section

	maxTrailerFields = 64
)

type chunkState uint8

const (
	atSize chunkState = iota
	inSize
	inExtension
	atSizeLF
	inData
	atDataCR
	atDataLF
	inTrailer
	atEnd
)

// A ChunkDecoder takes a chunked body apart (RFC 9112 section 7.1) as it
// comes in. The zero value is at the beginning of a body.
type ChunkDecoder struct {
	state      chunkState
	size       int64 // what is left of the chunk
	extension  int   // bytes of the current chunk's extension
	extensions int   // bytes of all extensions
	trailer    []byte
	err        error // the first; what follows it is not to be understood
}

// Reset makes d ready for another body.
func (d *ChunkDecoder) Reset() { *d = ChunkDecoder{trailer: d.trailer[:0]} }

// Done reports whether the whole body, with its trailer section, was seen.
func (d *ChunkDecoder) Done() bool { return d.state == atEnd && d.err == nil }

// Trailer returns the trailer section's field lines, each ended by CRLF; they
// are syntactically right once the decoder is done.
func (d *ChunkDecoder) Trailer() []byte { return d.trailer }

// Decode consumes n bytes of src and returns the data among them, a view into
// src, at most one chunk's. Call it until it consumes nothing or is done.
// After an error it returns that error for ever.
func (d *ChunkDecoder) Decode(src []byte) (data []byte, n int, err error) {
	if d.err != nil {
		return nil, 0, d.err
	}
	for n < len(src) && d.state != atEnd {
		if d.state == inData {
			take := int(min(d.size, int64(len(src)-n)))
			data = src[n : n+take]
			n += take
			if d.size -= int64(take); d.size == 0 {
				d.state = atDataCR
			}
			return data, n, nil
		}
		if d.err = d.step(src[n]); d.err != nil {
			return nil, n, d.err
		}
		n++
	}
	return nil, n, nil
}

func (d *ChunkDecoder) step(c byte) error {
	switch d.state {
	case atSize, inSize:
		return d.stepSize(c)
	case inExtension:
		return d.stepExtension(c)
	case atSizeLF:
		if c != '\n' {
			return ErrChunkSize
		}
		if d.state = inData; d.size == 0 {
			d.state = inTrailer
		}
	case atDataCR:
		if c != '\r' {
			return ErrChunkEnd
		}
		d.state = atDataLF
	case atDataLF:
		if c != '\n' {
			return ErrChunkEnd
		}
		d.state, d.size = atSize, 0
	default:
		return d.stepTrailer(c)
	}
	return nil
}

func (d *ChunkDecoder) stepSize(c byte) error {
	switch {
	case classes[c]&isHex != 0:
		if d.size > math.MaxInt64>>4 {
			return ErrChunkSize
		}
		d.size = d.size<<4 | int64(hexValue(c))
		d.state = inSize
	case d.state == atSize:
		return ErrChunkSize
	case c == ';':
		d.state, d.extension = inExtension, 0
	case c == '\r':
		d.state = atSizeLF
	default:
		return ErrChunkSize
	}
	return nil
}

func (d *ChunkDecoder) stepExtension(c byte) error {
	if c == '\r' {
		d.state = atSizeLF
		return nil
	}
	d.extension++
	d.extensions++
	if classes[c]&isValue == 0 || d.extension > maxChunkLine || d.extensions > maxExtensions {
		return ErrChunkExtension
	}
	return nil
}

func (d *ChunkDecoder) stepTrailer(c byte) error {
	if len(d.trailer) >= maxTrailer {
		return ErrTrailerLarge
	}
	d.trailer = append(d.trailer, c)
	n := len(d.trailer)
	if c != '\n' {
		return nil
	}
	if n < 2 || d.trailer[n-2] != '\r' {
		return ErrBareLF
	}
	if n > 2 && (n < 4 || d.trailer[n-3] != '\n') {
		return nil
	}
	d.trailer = d.trailer[:n-2]
	d.state = atEnd
	if len(d.trailer) == 0 {
		return nil
	}
	_, err := ParseFields(nil, d.trailer, maxTrailerFields)
	return err
}
