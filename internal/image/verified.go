package image

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"sync/atomic"

	"github.com/unifaas/unifaas/internal/faas"
)

// A verified reader ends with an error of kind invalid instead of io.EOF when
// what it has read is not what was asked for.
type verified struct {
	r      io.Reader
	sum    hash.Hash
	digest string       // "sha256:...", "" for any
	size   int64        // bytes, -1 for any
	n      atomic.Int64 // bytes read so far
}

func verify(r io.Reader, digest string, size int64) *verified {
	return &verified{r: r, sum: sha256.New(), digest: digest, size: size}
}

// Read implements [io.Reader].
func (v *verified) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.sum.Write(p[:n])
	total := v.n.Add(int64(n))
	switch {
	case v.size >= 0 && total > v.size:
		return 0, faas.Errorf(faas.KindInvalid, "%s is longer than its %d bytes", v.name(), v.size)
	case errors.Is(err, io.EOF):
		return n, v.end(total)
	}
	return n, err
}

func (v *verified) end(total int64) error {
	if v.size >= 0 && total < v.size {
		return faas.Errorf(faas.KindInvalid, "%s is truncated: %d of %d bytes", v.name(), total, v.size)
	}
	if got := "sha256:" + hex.EncodeToString(v.sum.Sum(nil)); v.digest != "" && got != v.digest {
		return faas.Errorf(faas.KindInvalid, "wrong digest: %s instead of %s", got, v.digest)
	}
	return io.EOF
}

func (v *verified) name() string {
	if v.digest == "" {
		return "it"
	}
	return v.digest
}
