package image

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/imagetest"
)

// FuzzScanArchive: whatever a file holds, the parts that are found lie within
// it.
func FuzzScanArchive(f *testing.F) {
	img := imagetest.Image{Layers: []imagetest.Layer{imagetest.Plain(imagetest.Sparse(1 << 40))}}
	whole, err := os.ReadFile(imagetest.WriteArchive(f, img))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(imagetest.Sparse(1 << 40)) // a part that claims to be longer than the file
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "image.tar")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		size := int64(len(data))
		a, err := scanArchive(file, size)
		if err != nil {
			if faas.KindOf(err) != faas.KindInvalid {
				t.Error(err)
			}
			return
		}
		for name, p := range a.parts {
			if p.link == "" && (p.offset < 0 || p.size < 0 || p.offset > size || p.size > size-p.offset) {
				t.Errorf("%q is %+v of %d bytes", name, p, size)
			}
		}
		if _, err := a.small("manifest.json"); err != nil && faas.KindOf(err) != faas.KindInvalid {
			t.Error(err)
		}
	})
}
