package erofs_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/unifaas/unifaas/internal/erofs"
)

func sampleImage(t testing.TB) []byte {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	write(t, filepath.Join(dir, "d", "e", "file"), bytes.Repeat([]byte("content"), 1000))
	write(t, filepath.Join(dir, "empty"), nil)
	for i := range 300 { // more than one block of entries
		write(t, filepath.Join(dir, "many", string(bytes.Repeat([]byte("n"), 20))+string(rune('a'+i%26))+string(rune('a'+i/26))), nil)
	}
	if err := os.Symlink("d/e/file", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := erofs.Write(context.Background(), f, dir, erofs.Options{Directories: []string{"/proc"}}); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func readImage(raw []byte, f func(string, erofs.Found, *erofs.Image) error) error {
	image, err := erofs.Open(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return err
	}
	return image.Walk(func(p string, found erofs.Found) error { return f(p, found, image) })
}

func TestRead(t *testing.T) {
	raw := sampleImage(t)
	if !erofs.Recognise(raw) {
		t.Error("the image is not recognised")
	}
	all := map[string]erofs.Found{}
	var text []byte
	err := readImage(raw, func(p string, found erofs.Found, image *erofs.Image) (err error) {
		all[p] = found
		if p == "/d/e/file" {
			text, err = io.ReadAll(image.Content(found))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 308 || all["/link"].Target != "d/e/file" || all["/proc"].Mode != 0o040755 || all["/d/e/file"].Size != 7000 || !bytes.Equal(text, bytes.Repeat([]byte("content"), 1000)) {
		t.Errorf("got %d files", len(all))
	}
}

func TestReadTruncated(t *testing.T) {
	raw := sampleImage(t)
	for n := 0; n < len(raw); n += 100 {
		if err := readImage(raw[:n], func(string, erofs.Found, *erofs.Image) error { return nil }); err == nil {
			t.Fatalf("%d of %d bytes were taken for an image", n, len(raw))
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(sampleImage(f))
	f.Fuzz(func(_ *testing.T, raw []byte) {
		_ = readImage(raw, func(string, erofs.Found, *erofs.Image) error { return nil })
	})
}
