package erofs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gvisor.dev/gvisor/pkg/abi/linux"
	reader "gvisor.dev/gvisor/pkg/erofs"
	"pgregory.net/rapid"

	"github.com/unifaas/unifaas/internal/erofs"
)

// image writes an image of dir and opens it with gVisor's reader, which is
// who reads them.
func image(t testing.TB, dir string, opts erofs.Options) (*reader.Image, []byte) {
	t.Helper()
	f, err := os.CreateTemp(filepath.Dir(dir), "image")
	if err != nil {
		t.Fatal(err)
	}
	if err := erofs.Write(context.Background(), f, dir, opts); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	img, err := reader.OpenImage(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(img.Close)
	return img, raw
}

// lookup walks the image to a path.
func lookup(t testing.TB, img *reader.Image, path string) reader.Inode {
	t.Helper()
	nid := img.RootNid()
	for _, name := range strings.FieldsFunc(path, func(r rune) bool { return r == '/' }) {
		dir := inode(t, img, nid)
		var err error
		if nid, err = dir.Lookup(name); err != nil {
			t.Fatalf("look up %q of %q: %v", name, path, err)
		}
	}
	return inode(t, img, nid)
}

func inode(t testing.TB, img *reader.Image, nid uint64) reader.Inode {
	t.Helper()
	n, err := img.Inode(nid)
	if err != nil {
		t.Fatalf("read inode %d: %v", nid, err)
	}
	return n
}

func content(t testing.TB, n reader.Inode) []byte {
	t.Helper()
	ranges, err := n.DataRanges()
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(ranges[0].Bytes)
}

// compare checks that the image holds the tree at dir, no more and no less.
func compare(t testing.TB, img *reader.Image, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if rel == "." {
			rel = ""
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil {
			return err
		}
		n := lookup(t, img, rel)
		if uint32(n.Mode()) != st.Mode || n.UID() != st.Uid || n.GID() != st.Gid || uint64(n.Nlink()) != st.Nlink || n.Mtime() != uint64(st.Mtim.Sec) {
			t.Errorf("%q: got mode %o, owner %d:%d, %d links, time %d; want %+v", rel, n.Mode(), n.UID(), n.GID(), n.Nlink(), n.Mtime(), st)
		}
		return compareContent(t, n, path, &st)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func compareContent(t testing.TB, n reader.Inode, path string, st *syscall.Stat_t) error {
	t.Helper()
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFREG:
		want, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if got := content(t, n); !bytes.Equal(got, want) {
			t.Errorf("%q: %d bytes differ from its %d", path, len(got), len(want))
		}
	case syscall.S_IFLNK:
		want, err := os.Readlink(path)
		if err != nil {
			return err
		}
		if got, err := n.Readlink(); err != nil || got != want {
			t.Errorf("%q: got link to %q, %v; want %q", path, got, err, want)
		}
	case syscall.S_IFDIR:
		entries, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		got := 0
		if err := n.IterDirents(func(string, uint8, uint64) error { got++; return nil }); err != nil {
			return err
		}
		if got != len(entries)+2 {
			t.Errorf("%q: got %d entries, want %d and 2", path, got, len(entries))
		}
	}
	return nil
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o640); err != nil {
		t.Fatal(err)
	}
}

func tree(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestWrite(t *testing.T) {
	dir := tree(t)
	write(t, dir+"/bin/app", bytes.Repeat([]byte("x"), 3*erofs.BlockSize+17))
	write(t, dir+"/bin/exact", bytes.Repeat([]byte("y"), 2*erofs.BlockSize))
	write(t, dir+"/empty", nil)
	write(t, dir+"/"+strings.Repeat("n", 255), []byte("long name"))
	for _, err := range []error{
		os.Link(dir+"/bin/app", dir+"/linked"),
		os.Symlink("bin/app", dir+"/soft"),
		os.Symlink("/etc/passwd", dir+"/outside"),
		os.Symlink(strings.Repeat("d/", 2000), dir+"/deep"),
		syscall.Mkfifo(dir+"/fifo", 0o600),
		os.Chmod(dir+"/bin/app", 0o4755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	img, _ := image(t, dir, erofs.Options{})
	compare(t, img, dir)
	if a, b := lookup(t, img, "bin/app"), lookup(t, img, "linked"); a.Nid() != b.Nid() {
		t.Errorf("a hard link has inode %d, its file %d", b.Nid(), a.Nid())
	}
}

// TestManyEntries needs several blocks for one directory.
func TestManyEntries(t *testing.T) {
	dir := tree(t)
	for i := range 700 {
		write(t, fmt.Sprintf("%s/many/%s-%d", dir, strings.Repeat("e", i%90), i), []byte{byte(i)})
	}
	img, _ := image(t, dir, erofs.Options{})
	compare(t, img, dir)
}

func TestMountPointsAndOwner(t *testing.T) {
	dir := tree(t)
	write(t, dir+"/proc/keep", nil)
	img, _ := image(t, dir, erofs.Options{Owner0: true, Directories: []string{"/proc", "/tmp", "/a/b/c"}})
	if n := lookup(t, img, "tmp"); n.Mode() != linux.S_IFDIR|0o1777 {
		t.Errorf("/tmp: got mode %o", n.Mode())
	}
	if n := lookup(t, img, "a/b/c"); !n.IsDir() || n.Mode() != linux.S_IFDIR|0o755 || n.Nlink() != 2 {
		t.Errorf("/a/b/c: got mode %o, %d links", n.Mode(), n.Nlink())
	}
	if n := lookup(t, img, "proc/keep"); !n.IsRegular() || n.UID() != 0 || n.GID() != 0 {
		t.Errorf("/proc/keep: got mode %o, owner %d:%d", n.Mode(), n.UID(), n.GID())
	}
}

func TestMountPointIsAFile(t *testing.T) {
	dir := tree(t)
	write(t, dir+"/tmp", nil)
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = erofs.Write(context.Background(), f, dir, erofs.Options{Directories: []string{"/tmp"}})
	if err == nil || !strings.Contains(err.Error(), `"/tmp" is not a directory`) {
		t.Errorf("got %v, want an error that names /tmp", err)
	}
}

func TestCanceled(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := erofs.Write(ctx, f, tree(t), erofs.Options{}); err == nil {
		t.Error("a canceled write succeeded")
	}
}

// TestAnyTree writes random trees: what comes out is what went in, and the
// same tree gives the same bytes.
func TestAnyTree(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		base, err := os.MkdirTemp("", "erofs") //nolint:usetesting // one of the property, not of the test
		if err != nil {
			r.Fatal(err)
		}
		defer os.RemoveAll(base)
		dir := filepath.Join(base, "tree")
		if err := os.Mkdir(dir, 0o755); err != nil {
			r.Fatal(err)
		}
		names := rapid.StringMatching(`[a-zA-Z0-9._~-]{1,60}(/[a-z]{1,9}){0,3}`)
		for _, name := range rapid.SliceOfN(names, 0, 60).Draw(r, "names") {
			path := filepath.Join(dir, name)
			if os.MkdirAll(filepath.Dir(path), 0o755) != nil {
				continue // a file is where a folder would be
			}
			size := rapid.SampledFrom([]int{0, 1, 4095, 4096, 4097, 20000}).Draw(r, "size")
			data := make([]byte, size)
			rng := rand.NewChaCha8(sha256.Sum256([]byte(name)))
			_, _ = rng.Read(data)
			_ = os.WriteFile(path, data, 0o644) // it may be a folder already, or "."
		}
		img, first := rapidImage(r, dir, base)
		defer img.Close()
		compare(t, img, dir)
		again, second := rapidImage(r, dir, base)
		defer again.Close()
		if !bytes.Equal(first, second) {
			r.Error("two images of one tree differ")
		}
	})
}

func rapidImage(r *rapid.T, dir, base string) (*reader.Image, []byte) {
	f, err := os.CreateTemp(base, "image")
	if err != nil {
		r.Fatal(err)
	}
	if err := erofs.Write(context.Background(), f, dir, erofs.Options{}); err != nil {
		r.Fatal(err)
	}
	raw, err := os.ReadFile(f.Name())
	if err != nil {
		r.Fatal(err)
	}
	img, err := reader.OpenImage(f)
	if err != nil {
		r.Fatal(err)
	}
	return img, raw
}
