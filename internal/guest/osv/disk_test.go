package osv

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/unifaas/unifaas/internal/guest/osv/rofs"
)

func put(t testing.TB, root, name string, content []byte) {
	t.Helper()
	p := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, content, 0o755); err != nil {
		t.Fatal(err)
	}
}

func writeDisk(t testing.TB, rootfs string, edits ...rofs.Edit) []byte {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := WriteDisk(t.Context(), f, rootfs, edits); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// contents reads all regular files of a disk.
func contents(t testing.TB, raw []byte) map[string]string {
	t.Helper()
	image, err := OpenDisk(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	if err := image.Walk(func(p string, f rofs.Found) error {
		text, err := io.ReadAll(image.Content(f))
		if f.Kind == rofs.File {
			all[p] = string(text)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestDisk(t *testing.T) {
	root := t.TempDir()
	put(t, root, "f", []byte("content"))
	raw := writeDisk(t, root)
	if got := contents(t, raw); len(got) != 2 || got["/f"] != "content" || got["/etc/fstab"] != mountTable {
		t.Errorf("got %q", got)
	}
	if !RecogniseDisk(raw[:1024]) || RecogniseDisk(raw[512:]) || RecogniseDisk(nil) {
		t.Error("the disk is not recognised, or something else is")
	}
	// The second entry: a partition of Linux, whole, from sector 1 on.
	entry := raw[0x1ce:0x1de]
	if sectors := len(raw)/512 - 1; entry[4] != 0x83 || entry[2] == 0 || entry[8] != 1 || int(entry[12])|int(entry[13])<<8 != sectors {
		t.Errorf("partition entry: % x, want %d sectors", entry, sectors)
	}
	if again := writeDisk(t, root); !bytes.Equal(raw, again) {
		t.Error("two disks of one tree differ")
	}
	for n := range len(raw) - 1 {
		if _, err := OpenDisk(bytes.NewReader(raw[:n]), int64(n)); err == nil {
			t.Fatalf("%d of %d bytes were taken for a disk", n, len(raw))
		}
	}
}

func FuzzOpenDisk(f *testing.F) {
	root := f.TempDir()
	put(f, root, "f", []byte("content"))
	f.Add(writeDisk(f, root))
	f.Add(bootRecord(1))
	f.Fuzz(func(_ *testing.T, raw []byte) {
		if image, err := OpenDisk(bytes.NewReader(raw), int64(len(raw))); err == nil {
			_ = image.Walk(func(string, rofs.Found) error { return nil })
		}
	})
}

// BenchmarkWriteDisk writes the disk of a Go function of 6 MiB.
func BenchmarkWriteDisk(b *testing.B) {
	root := b.TempDir()
	put(b, root, "function", bytes.Repeat([]byte("0123456789abcdef"), 6<<20/16))
	f, err := os.Create(filepath.Join(b.TempDir(), "disk"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Truncate(0); err != nil {
			b.Fatal(err)
		}
		if err := WriteDisk(b.Context(), f, root, nil); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}
