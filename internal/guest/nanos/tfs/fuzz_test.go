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
	f.Add(small(f)[:16<<10])
	f.Add([]byte("NVMTFS\x05\x01"))
	f.Fuzz(func(t *testing.T, data []byte) { _ = readAll(data) })
}

// FuzzRecord plays one record, whatever it is.
func FuzzRecord(f *testing.F) {
	f.Add([]byte("\x91\x88children\x90"))                           // a root
	f.Add([]byte("\x92\x88children\x91\x81f\x00\x87program\xc2/f")) // and more
	f.Add([]byte("\x91\x81a\x11\x01\x02\x11\x01"))                  // tuples that name each other
	f.Fuzz(func(_ *testing.T, record []byte) {
		if len(record) > 1<<20 {
			return
		}
		// A volume of two extensions: one that links to the other, with the record.
		data := make([]byte, 512, 1024+len(record))
		copy(data, "NVMTFS\x05\x01")
		copy(data[8+16:], "\x00\x05\x01")
		tail := []byte("NVMTFS\x05")
		sectors := (len(record) + 32 + 511) / 512
		link := varint(uint64(sectors))
		copy(data[8+16+3:], append(link, 1))
		tail = append(append(tail, link...), 2)
		tail = append(append(tail, varint(uint64(len(record)))...), varint(uint64(len(record)))...)
		data = append(append(append(data, tail...), record...), 1)
		data = append(data, make([]byte, 512+sectors*512-len(data))...)
		_ = readAll(data)
	})
}

func varint(x uint64) []byte {
	b := []byte{byte(x & 0x7f)}
	for x >>= 7; x > 0; x >>= 7 {
		b = append([]byte{byte(x&0x7f) | 0x80}, b...)
	}
	return b
}
