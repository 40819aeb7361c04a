package guest

import (
	"io"
	"math/rand/v2"
)

// Pattern returns a reader of n bytes that are the same for the same seed, so
// that both ends can make a body and its digest without sending it twice.
func Pattern(seed, n int64) io.Reader {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return io.LimitReader(rand.NewChaCha8(key), n)
}
