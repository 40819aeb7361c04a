package tfs_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/unifaas/unifaas/internal/guest/nanos/tfs"
)

// small is a volume with some of everything.
func small(t testing.TB) []byte {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "folder", "file"), bytes.Repeat([]byte("x"), 5000))
	write(t, filepath.Join(dir, "empty"), nil)
	if err := os.Symlink("folder", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "empty"), filepath.Join(dir, "again")); err != nil {
		t.Fatal(err)
	}
	v := build(t, tfs.Tree{Dir: dir}, 0, tfs.Options{Label: "l", Attributes: tfs.Tuple{{Name: "program", Value: "/f"}}})
	data := make([]byte, 32<<10)
	if _, err := v.file.ReadAt(data, 0); err != nil {
		t.Fatal(err)
	}
	return data
}

// readAll reads all there is, and returns the first error.
func readAll(data []byte) error {
	v, err := tfs.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	if _, err := v.Attributes(); err != nil {
		return err
	}
	v.NewPatch()
	return v.Walk(func(_ string, n tfs.Node) error {
		if n.Type != tfs.FileType {
			return nil
		}
		_, err := io.CopyN(io.Discard, n.Content(), min(n.Size, 1<<20))
		return err
	})
}

// TestDamage cuts a volume everywhere and changes each byte of its log: that is
// an error or another volume, and never a panic.
func TestDamage(t *testing.T) {
	data := small(t)
	if err := readAll(data); err != nil {
		t.Fatal(err)
	}
	for n := range len(data) / 64 {
		if err := readAll(data[:n*64]); err == nil && n*64 < 16<<10 {
			t.Fatalf("the first %d bytes are a volume", n*64)
		}
	}
	for i := range data {
		if data[i] == 0 || data[i] == 'x' { // of nothing, or of a file
			continue
		}
		for _, with := range []byte{0x00, 0xff, data[i] ^ 0x80, data[i] + 1} {
			old := data[i]
			data[i] = with
			_ = readAll(data)
			data[i] = old
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(small(f))
	f.Add([]byte("NVMTFS\x05\x01"))
	f.Fuzz(func(t *testing.T, data []byte) { _ = readAll(data) })
}
