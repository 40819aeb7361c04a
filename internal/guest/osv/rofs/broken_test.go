package rofs_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/unifaas/unifaas/internal/guest/osv/rofs"
)

// sample is a small image with one of everything.
func sample(t testing.TB) []byte {
	t.Helper()
	dir := newTree(t)
	put(t, filepath.Join(dir, "d", "e", "file"), bytes.Repeat([]byte("content"), 200))
	put(t, filepath.Join(dir, "empty"), nil)
	link(t, "d/e/file", filepath.Join(dir, "link"))
	raw, err := os.ReadFile(write(t, 0, dir).Name())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// readAll reads all there is, as far as that is no more than a test has time
// for.
func readAll(raw []byte) error {
	image, err := rofs.Open(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return err
	}
	return image.Walk(func(_ string, f rofs.Found) error {
		_, err := io.Copy(io.Discard, io.LimitReader(image.Content(f), 1<<20))
		return err
	})
}

func TestTruncated(t *testing.T) {
	raw := sample(t)
	if err := readAll(raw); err != nil {
		t.Fatal(err)
	}
	for n := range raw {
		if err := readAll(raw[:n]); err == nil {
			t.Fatalf("%d of %d bytes were taken for an image", n, len(raw))
		}
	}
}

// TestContradictions breaks one number at a time.
func TestContradictions(t *testing.T) {
	raw := sample(t)
	tables := int(binary.LittleEndian.Uint64(raw[24:])) * rofs.BlockSize
	for name, change := range map[string]func(b []byte){
		"version":              func(b []byte) { b[8] = 2 },
		"block size":           func(b []byte) { b[17] = 4 },
		"tables in the super":  func(b []byte) { b[24] = 0 },
		"tables far away":      func(b []byte) { b[31] = 0x7f },
		"tables endless":       func(b []byte) { b[39] = 0xff },
		"entries without end":  func(b []byte) { b[47] = 0xff },
		"more entries":         func(b []byte) { b[40]++ },
		"fewer entries":        func(b []byte) { b[40]-- },
		"no inodes":            func(b []byte) { b[56] = 0 },
		"more links":           func(b []byte) { b[48]++ },
		"entry of no inode":    func(b []byte) { b[tables] = 0 },
		"entry of inode 99":    func(b []byte) { b[tables] = 99 },
		"entry of the root":    func(b []byte) { b[tables] = 1 },
		"name with a slash":    func(b []byte) { b[tables+10] = '/' },
		"name of another size": func(b []byte) { b[tables+8]++ },
	} {
		broken := bytes.Clone(raw)
		change(broken)
		if err := readAll(broken); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// FuzzOpen wants an error or an image of anything, in bounded memory.
func FuzzOpen(f *testing.F) {
	raw := sample(f)
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Add(raw[:64])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := readAll(b); err != nil && !rofs.Recognise(b) && len(b) >= 64 && binary.LittleEndian.Uint64(b) == 0xdeadbead {
			t.Errorf("the beginning was not recognised: %v", err)
		}
	})
}
