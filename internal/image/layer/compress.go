package layer

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds what a Zstandard stream may have us keep in memory: the
// window of `zstd --long`, 128 MiB, is the largest that is in use.
const maxWindow = 128 << 20

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd} // RFC 8878, section 3.1.1
)

// Decompress returns the archive in r, which is compressed by gzip, by
// Zstandard, or not at all: what the content says counts, for names and media
// types are often wrong. The caller closes what it returns, not r through it.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	magic, err := b.Peek(len(zstdMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, gzipMagic):
		g, err := gzip.NewReader(b)
		if err != nil {
			return nil, damaged(err)
		}
		return g, nil
	case bytes.HasPrefix(magic, zstdMagic) || isSkippable(magic):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow))
		if err != nil {
			return nil, damaged(err)
		}
		return z.IOReadCloser(), nil
	default:
		return io.NopCloser(b), nil
	}
}

// isSkippable reports whether a Zstandard stream begins with a skippable
// frame, as chunked ones do (RFC 8878, section 3.1.2).
func isSkippable(magic []byte) bool {
	return len(magic) == 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:], []byte{0x2a, 0x4d, 0x18})
}
