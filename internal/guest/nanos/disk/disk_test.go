package disk_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/guest/nanos/disk"
	"github.com/unifaas/unifaas/internal/guest/nanos/nanostest"
	"github.com/unifaas/unifaas/internal/guest/nanos/tfs"
)

func file(t testing.TB, name string, content []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

// write writes a disk with a function's program of size bytes.
func write(t testing.TB, to string, kernel []byte, program string) {
	f, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = disk.Write(f, disk.Spec{
		Loader: nanostest.Open(t, file(t, "boot.img", nanostest.Loader())), Kernel: nanostest.Open(t, file(t, "kernel.img", kernel)),
		Root: tfs.Options{Room: 4096, Attributes: tfs.Tuple{{Name: "program", Value: "/f"}}},
		Fill: func(b *tfs.Builder, root tfs.Folder) error {
			return b.AddTree(t.Context(), root, tfs.Tree{Dir: filepath.Dir(program), Directories: []string{"/tmp"}})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := 0; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b
}

func TestDiskComesBack(t *testing.T) {
	kernel, program := random(1_742_992), random(100_000)
	to := filepath.Join(t.TempDir(), "disk")
	write(t, to, kernel, file(t, "f", program))
	data, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	d, err := disk.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data[512:95*512], nanostest.Loader()[512:]) || !bytes.Equal(data[:446], nanostest.Loader()[:446]) {
		t.Error("the loader is another one")
	}
	r, err := d.Kernel()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, kernel) {
		t.Errorf("the kernel is another one (%v)", err)
	}
	if got, err := d.Root.Attributes(); err != nil || got.Get("program") != "/f" {
		t.Errorf("attributes: %v, %v", got, err)
	}
	var paths []string
	err = d.Root.Walk(func(p string, n tfs.Node) error {
		paths = append(paths, p)
		return nil
	})
	if got := strings.Join(paths, " "); err != nil || got != "/ /f /tmp" {
		t.Errorf("root: %q, %v", got, err)
	}
	// The table's entries as a PC's BIOS would see them.
	for i, want := range []struct{ at, size int64 }{{0xd000, d.RootAt - 0xd000}, {d.RootAt, int64(len(data)) - d.RootAt}} {
		e := data[446+16*i:]
		at, size := int64(binary.LittleEndian.Uint32(e[8:]))*512, int64(binary.LittleEndian.Uint32(e[12:]))*512
		if e[4] != 0x83 || at != want.at || size != want.size {
			t.Errorf("partition %d: type %#x, %d bytes at %#x; want %d at %#x", i, e[4], size, at, want.size, want.at)
		}
	}
}

func TestLoaderThatIsNone(t *testing.T) {
	for want, change := range map[string]func(b []byte) []byte{
		"no loader":     func(b []byte) []byte { return b[:512] },
		"bytes":         func(b []byte) []byte { return b[:len(b)-1] },
		"signature":     func(b []byte) []byte { b[510] = 0; return b },
		"not of Nanos":  func(b []byte) []byte { b[442] = 1; return b },
		"it is cut off": func(b []byte) []byte { return b[:len(b)-512] },
	} {
		if err := disk.CheckLoader(change(nanostest.Loader())); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if err := disk.CheckLoader(nanostest.Loader()); err != nil {
		t.Error(err)
	}
}

// BenchmarkWrite writes the disk of a Go program of 6 MB.
func BenchmarkWrite(b *testing.B) {
	kernel, program := random(1_742_992), file(b, "f", random(6_000_000))
	dir := b.TempDir()
	b.ReportAllocs()
	for b.Loop() {
		write(b, filepath.Join(dir, "disk"), kernel, program)
	}
}

func TestLastWords(t *testing.T) {
	to := filepath.Join(t.TempDir(), "disk")
	write(t, to, random(1000), file(t, "f", []byte("program")))
	data, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	if w, ok := disk.LastWords(bytes.NewReader(data)); ok {
		t.Errorf("a new disk has last words: %+v", w)
	}
	// As the kernel does it: in front of the first partition.
	at := int64(binary.LittleEndian.Uint32(data[454:]))*512 - 4096
	copy(data[at:], "KLOG\x01\x02\x03\x04\x05\x06\x07\x08\x07\x00\x00\x00one\ntwo\n\x00rest")
	if w, ok := disk.LastWords(bytes.NewReader(data)); !ok || w.Code != 7 || w.Text != "one\ntwo\n" {
		t.Errorf("got %+v, %v", w, ok)
	}
	for _, n := range []int{0, 511, 512, int(at) + 100} {
		if w, ok := disk.LastWords(bytes.NewReader(data[:n])); ok {
			t.Errorf("the first %d bytes have last words: %+v", n, w)
		}
	}
}

func FuzzOpen(f *testing.F) {
	to := filepath.Join(f.TempDir(), "disk")
	write(f, to, random(1000), file(f, "f", []byte("program")))
	data, err := os.ReadFile(to)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[:128<<10])
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := disk.Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		if r, err := d.Kernel(); err == nil {
			_, _ = io.CopyN(io.Discard, r, 1<<20)
		}
	})
}
