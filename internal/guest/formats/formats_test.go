package formats

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/unifaas/unifaas/internal/erofs"
	"github.com/unifaas/unifaas/internal/guest/linux/cpio"
	"github.com/unifaas/unifaas/internal/guest/nanos/disk"
	"github.com/unifaas/unifaas/internal/guest/nanos/nanostest"
	"github.com/unifaas/unifaas/internal/guest/nanos/tfs"
	"github.com/unifaas/unifaas/internal/guest/osv"
	"github.com/unifaas/unifaas/internal/guest/osv/rofs"
)

// samples returns one file of each format, with a folder d, a file d/f of three
// bytes and a link l to that in it.
func samples(t testing.TB) map[string]string {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "tree")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(tree, "d"), 0o755), os.WriteFile(filepath.Join(tree, "d", "f"), []byte("abc"), 0o600), os.Symlink("d/f", filepath.Join(tree, "l")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	release := nanostest.Release(t)
	all := map[string]string{}
	for name, write := range map[string]func(*os.File) error{
		"disk of OSv (ROFS)": func(f *os.File) error { return osv.WriteDisk(t.Context(), f, tree, nil) },
		"ROFS file system": func(f *os.File) error {
			_, err := rofs.Write(t.Context(), f, 0, tree, rofs.Changes{})
			return err
		},
		"EROFS file system": func(f *os.File) error { return erofs.Write(t.Context(), f, tree, erofs.Options{}) },
		"initial file system of Linux (cpio)": func(f *os.File) error {
			w := cpio.NewWriter(f)
			w.Tree("/", tree, cpio.Change{})
			return w.Close()
		},
		"TFS file system": func(f *os.File) error {
			b, root, err := tfs.NewBuilder(f, 0, tfs.Options{Label: "tmp"})
			if err != nil {
				return err
			}
			err = b.AddTree(t.Context(), root, tfs.Tree{Dir: tree})
			_, closeErr := b.Close()
			return errors.Join(err, closeErr)
		},
		"disk of Nanos (TFS)": func(f *os.File) error {
			return disk.Write(f, disk.Spec{
				Loader: nanostest.Open(t, filepath.Join(release, "boot.img")), Kernel: nanostest.Open(t, filepath.Join(release, "kernel.img")),
				Root: tfs.Options{Attributes: tfs.Tuple{{Name: "program", Value: "/d/f"}, {Name: "arguments", Value: tfs.List("a", "b")}}},
				Fill: func(b *tfs.Builder, root tfs.Folder) error { return b.AddTree(t.Context(), root, tfs.Tree{Dir: tree}) },
			})
		},
	} {
		f, err := os.Create(filepath.Join(t.TempDir(), "sample"))
		if err != nil {
			t.Fatal(err)
		}
		if err := write(f); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		all[name] = f.Name()
	}
	return all
}

func TestInspect(t *testing.T) {
	all := samples(t)
	for _, f := range known() {
		path, ok := all[f.name]
		if !ok {
			t.Errorf("there is no sample of %q", f.name)
			continue
		}
		c, err := Inspect(path)
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
			continue
		}
		if c.Format != f.name {
			t.Errorf("%s was taken for %s", f.name, c.Format)
		}
		found := map[string]File{}
		for _, file := range c.Files {
			found[file.Path] = file
		}
		if found["/d"].Type != Folder || found["/d/f"].Type != Regular || found["/d/f"].Size != 3 || found["/l"].Type != Symlink || found["/l"].Target != "d/f" {
			t.Errorf("%s: got %+v", f.name, c.Files)
		}
		if mode := found["/d/f"].Mode; mode != "" && mode != "0600" {
			t.Errorf("%s: got mode %q", f.name, mode)
		}
		if strings.Contains(f.name, "Nanos") && !strings.Contains(strings.Join(details(c), "\n"), "arguments=(0:a 1:b)") {
			t.Errorf("%s: got %v", f.name, c.Details)
		}
	}
}

func details(c *Contents) (all []string) {
	for _, d := range c.Details {
		all = append(all, d.Name+"="+d.Value)
	}
	return all
}

func TestInspectRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"text": "hello", "empty": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"": "no regular file", "fifo": "no regular file", "text": "no format that is known here", "empty": "no format", "missing": "no such file"} {
		if _, err := Inspect(filepath.Join(dir, name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", name, err, want)
		}
	}
}

// TestCpioWithABootSignature is no disk.
func TestCpioWithABootSignature(t *testing.T) {
	raw, err := os.ReadFile(samples(t)["initial file system of Linux (cpio)"])
	if err != nil {
		t.Fatal(err)
	}
	raw = append(raw, make([]byte, 1024)...)
	raw[510], raw[511] = 0x55, 0xaa
	c, err := Read(bytes.NewReader(raw), int64(len(raw)))
	if c == nil || !strings.Contains(c.Format, "cpio") {
		t.Errorf("got %+v, %v", c, err)
	}
}

// TestLongPaths: what is told of a file of megabytes stays below gigabytes.
func TestLongPaths(t *testing.T) {
	c := &Contents{}
	long := "/" + strings.Repeat("d", 60<<10)
	for n := range 10_000 {
		if err := c.add(File{Path: long, Type: Regular}); err != nil {
			if !strings.Contains(err.Error(), "take more than 128 MiB") || n < 1000 {
				t.Errorf("after %d: %v", n, err)
			}
			return
		}
	}
	t.Error("there was no end")
}

// FuzzRead wants an error or contents of anything.
func FuzzRead(f *testing.F) {
	for _, path := range samples(f) {
		raw, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(_ *testing.T, raw []byte) { _, _ = Read(bytes.NewReader(raw), int64(len(raw))) })
}
