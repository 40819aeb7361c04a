package workload

import (
	"archive/zip"
	"fmt"
	"io"
	"math/rand/v2"
)

// WriteArchive writes a ZIP archive of that many files of size random bytes
// each. The same numbers always make the same archive, so that an image that
// holds it stays the same.
func WriteArchive(w io.Writer, files int, size int64) error {
	archive := zip.NewWriter(w)
	for i := range files {
		to, err := archive.Create(fmt.Sprintf("file-%02d", i))
		if err != nil {
			return err
		}
		if _, err := io.Copy(to, io.LimitReader(rand.NewChaCha8([32]byte{byte(i)}), size)); err != nil {
			return err
		}
	}
	return archive.Close()
}
