package rofs_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/unifaas/unifaas/internal/guest/osv/rofs"
)

// write writes an image of dir to a file and returns the file.
func write(t testing.TB, at int64, dir string, extras ...rofs.Extra) *os.File {
	t.Helper()
	f, err := os.CreateTemp(filepath.Dir(dir), "image")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	size, err := rofs.Write(t.Context(), f, at, dir, rofs.Changes{Extras: extras})
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if size%rofs.BlockSize != 0 || info.Size() != at+size {
		t.Fatalf("the image has %d bytes from %d on, its file %d", size, at, info.Size())
	}
	return f
}

// open opens the image in a file from offset at on.
func open(t testing.TB, f *os.File, at int64) *rofs.Image {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	image, err := rofs.Open(io.NewSectionReader(f, at, info.Size()-at), info.Size()-at)
	if err != nil {
		t.Fatal(err)
	}
	if image.Size() != info.Size()-at {
		t.Errorf("the image says that it has %d bytes, it has %d", image.Size(), info.Size()-at)
	}
	return image
}

// files returns all that is in an image, by path.
func files(t testing.TB, image *rofs.Image) map[string]rofs.Found {
	t.Helper()
	all := map[string]rofs.Found{}
	if err := image.Walk(func(p string, f rofs.Found) error {
		if _, twice := all[p]; twice {
			t.Errorf("the image has %q twice", p)
		}
		all[p] = f
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// compare checks that an image holds the tree at dir, no more and no less.
func compare(t testing.TB, image *rofs.Image, dir string) {
	t.Helper()
	found := files(t, image)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		p := "/" + strings.TrimPrefix(strings.TrimPrefix(path, dir), "/")
		f, ok := found[p]
		if !ok {
			t.Errorf("the image has no %q", p)
			return nil
		}
		delete(found, p)
		return compareFile(t, image, f, path, e)
	})
	if err != nil {
		t.Fatal(err)
	}
	for p := range found {
		t.Errorf("the image has %q, the tree has not", p)
	}
}

func compareFile(t testing.TB, image *rofs.Image, f rofs.Found, path string, e fs.DirEntry) error {
	t.Helper()
	switch e.Type() {
	case fs.ModeDir:
		if f.Kind != rofs.Dir {
			t.Errorf("%q: got %+v, want a folder", path, f)
		}
	case fs.ModeSymlink:
		target, err := os.Readlink(path)
		if f.Kind != rofs.Symlink || f.Target != target {
			t.Errorf("%q: got %+v, want a link to %q", path, f, target)
		}
		return err
	default:
		want, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		got, err := io.ReadAll(image.Content(f))
		if f.Kind != rofs.File || !bytes.Equal(got, want) {
			t.Errorf("%q: got %+v with %d bytes, which differ from its %d", path, f, len(got), len(want))
		}
		return err
	}
	return nil
}

// put writes a file of a tree and the folders above it.
func put(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func link(t testing.TB, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func newTree(t testing.TB) string { return filepath.Join(t.TempDir(), "tree") }

// TestGolden holds the writer to the layout, byte by byte, as OSv's sources
// have it.
func TestGolden(t *testing.T) {
	dir := newTree(t)
	put(t, filepath.Join(dir, "b", "f"), []byte("hi"))
	link(t, "b/f", filepath.Join(dir, "a"))
	raw, err := os.ReadFile(write(t, 0, dir).Name())
	if err != nil {
		t.Fatal(err)
	}
	block := func(words ...string) []byte {
		b, err := hex.DecodeString(strings.Join(words, ""))
		if err != nil {
			t.Fatal(err)
		}
		return append(b, make([]byte, rofs.BlockSize-len(b))...)
	}
	u64 := func(n byte) string { return fmt.Sprintf("%02x00000000000000", n) }
	want := bytesOf(
		block("adbeadde00000000", u64(1), "0002000000000000", u64(2), u64(1), u64(3), u64(1), u64(4)),
		block(hex.EncodeToString([]byte("hi"))),
		block(
			u64(2), "0100", hex.EncodeToString([]byte("a")), u64(3), "0100", hex.EncodeToString([]byte("b")),
			u64(4), "0100", hex.EncodeToString([]byte("f")),
			"0300", hex.EncodeToString([]byte("b/f")),
			"0040000000000000", u64(1), u64(0), u64(2), // the root
			"00a0000000000000", u64(2), u64(0), u64(1), // a
			"0040000000000000", u64(3), u64(2), u64(1), // b
			"0080000000000000", u64(4), u64(1), u64(2), // b/f
		),
	)
	if !bytes.Equal(raw, want) {
		t.Errorf("got\n%s\nwant\n%s", hex.Dump(raw), hex.Dump(want))
	}
}

func bytesOf(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestUnusualTrees(t *testing.T) {
	for name, fill := range map[string]func(t *testing.T, dir string){
		"empty": func(*testing.T, string) {},
		"names": func(t *testing.T, dir string) {
			for _, name := range []string{"-", "a b", "new\nline", "\xff\xfe", "ünïcode", "..x", strings.Repeat("n", 255), "'\"\\$"} {
				put(t, filepath.Join(dir, name, name), []byte(name))
			}
		},
		"deep": func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, strings.Repeat("d/", 200), "bottom"), []byte("found"))
		},
		"links": func(t *testing.T, dir string) {
			for i, target := range []string{".", "/", "/no/such", "loop", "../../outside", strings.Repeat("x", 4095)} {
				link(t, target, filepath.Join(dir, fmt.Sprint(i)))
			}
		},
		"sizes": func(t *testing.T, dir string) {
			for _, n := range []int{0, 1, 511, 512, 513, 1024, 65537} {
				put(t, filepath.Join(dir, fmt.Sprint(n)), bytes.Repeat([]byte{7}, n))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newTree(t)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			fill(t, dir)
			for _, at := range []int64{0, 512} {
				compare(t, open(t, write(t, at, dir), at), dir)
			}
		})
	}
}

// TestRandomTrees writes trees of any shape, twice.
func TestRandomTrees(t *testing.T) {
	base := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		dir := filepath.Join(base, fmt.Sprint(n), "tree")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		dirs := []string{dir}
		for i := range rapid.IntRange(0, 24).Draw(rt, "files") {
			in := rapid.SampledFrom(dirs).Draw(rt, "in")
			path := filepath.Join(in, fmt.Sprint(i, rapid.StringMatching(`[ -.0-~]{0,20}`).Draw(rt, "name")))
			switch rapid.IntRange(0, 2).Draw(rt, "kind") {
			case 0:
				if err := os.Mkdir(path, 0o755); err != nil {
					t.Fatal(err)
				}
				dirs = append(dirs, path)
			case 1:
				put(t, path, bytes.Repeat([]byte{byte(i)}, rapid.IntRange(0, 2000).Draw(rt, "size")))
			default:
				link(t, rapid.StringMatching(`[ -~]{1,30}`).Draw(rt, "target"), path)
			}
		}
		first, second := write(t, 0, dir), write(t, 0, dir)
		compare(t, open(t, first, 0), dir)
		a, err := os.ReadFile(first.Name())
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(second.Name()); err != nil || !bytes.Equal(a, b) {
			rt.Errorf("two images of one tree differ (%v)", err)
		}
	})
}

// TestExtras puts what a guest needs beside what the tree has.
func TestExtras(t *testing.T) {
	dir := newTree(t)
	put(t, filepath.Join(dir, "etc", "fstab"), []byte("the tree's"))
	put(t, filepath.Join(dir, "etc", "hosts"), []byte("hosts"))
	link(t, "/var/tmp", filepath.Join(dir, "tmp"))
	image := open(t, write(t, 0, dir,
		rofs.Extra{Path: "/etc/fstab", Text: "ours"}, rofs.Extra{Path: "/tmp"}, rofs.Extra{Path: "/a/b/c"}, rofs.Extra{Path: "/a/b/file", Text: "new"}), 0)
	got := files(t, image)
	for path, want := range map[string]string{"/etc/fstab": "ours", "/etc/hosts": "hosts", "/a/b/file": "new"} {
		if text, err := io.ReadAll(image.Content(got[path])); err != nil || string(text) != want {
			t.Errorf("%s: got %q, %v; want %q", path, text, err, want)
		}
	}
	if got["/tmp"].Target != "/var/tmp" || got["/a/b/c"].Kind != rofs.Dir || len(got) != 9 {
		t.Errorf("got %v", got)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Symlink("etc", filepath.Join(dir, "linked")); err != nil {
		t.Fatal(err)
	}
	for _, e := range []rofs.Extra{{Path: "/etc/hosts/x"}, {Path: "/etc", Text: "x"}, {Path: "/linked/x", Text: "x"}} {
		if _, err := rofs.Write(t.Context(), f, 0, dir, rofs.Changes{Extras: []rofs.Extra{e}}); err == nil {
			t.Errorf("%+v was put where the tree has something else", e)
		}
	}
}

// TestEdits changes bytes of files where they are in the image alone.
func TestEdits(t *testing.T) {
	dir := newTree(t)
	put(t, filepath.Join(dir, "d", "file"), []byte("0123456789"))
	put(t, filepath.Join(dir, "d", "fine"), []byte("0123456789"))
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	edits := []rofs.Edit{{Path: "/d/file", At: 2, Bytes: []byte("ab")}, {Path: "/d/file", At: 9, Bytes: []byte("c")}}
	if _, err := rofs.Write(t.Context(), f, 0, dir, rofs.Changes{Edits: edits}); err != nil {
		t.Fatal(err)
	}
	image := open(t, f, 0)
	for p, want := range map[string]string{"/d/file": "01ab45678c", "/d/fine": "0123456789"} {
		if text, err := io.ReadAll(image.Content(files(t, image)[p])); err != nil || string(text) != want {
			t.Errorf("%s: got %q, %v; want %q", p, text, err, want)
		}
	}
	for _, e := range []rofs.Edit{{Path: "/d", Bytes: []byte("x")}, {Path: "/no", Bytes: []byte("x")}, {Path: "/d/file", At: 10, Bytes: []byte("x")}, {Path: "/d/file", At: -1, Bytes: []byte("x")}} {
		if _, err := rofs.Write(t.Context(), f, 0, dir, rofs.Changes{Edits: []rofs.Edit{e}}); err == nil {
			t.Errorf("%+v was applied", e)
		}
	}
}

// TestLinkedFilesShareBlocks: a file with several names is there once.
func TestLinkedFilesShareBlocks(t *testing.T) {
	dir := newTree(t)
	put(t, filepath.Join(dir, "a"), bytes.Repeat([]byte("x"), 1<<20))
	for i := range 10 {
		if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, fmt.Sprint("b", i))); err != nil {
			t.Fatal(err)
		}
	}
	image := open(t, write(t, 0, dir), 0)
	compare(t, image, dir)
	if image.Size() > 1<<20+8<<10 {
		t.Errorf("the image has %d bytes", image.Size())
	}
}

// allocated returns how much was allocated during f, bytes.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

const maxMemory = 32 << 20

// TestSparse: the holes of a large file cost neither time nor memory nor disk.
func TestSparse(t *testing.T) {
	dir := newTree(t)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "large"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pieces := map[int64]string{0: "begin", 1<<29 + 1: "middle", 1<<30 - 1<<20: "late"}
	for at, text := range pieces {
		if _, err := f.WriteAt([]byte(text), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(1 << 30); err != nil {
		t.Fatal(err)
	}
	var file *os.File
	if used := allocated(func() { file = write(t, 512, dir) }); used > maxMemory {
		t.Errorf("%d bytes of memory were allocated", used)
	}
	image := open(t, file, 512)
	found := files(t, image)["/large"]
	if found.Size != 1<<30 {
		t.Fatalf("got %+v", found)
	}
	for at, text := range pieces {
		got := make([]byte, len(text)+1)
		if _, err := image.Content(found).ReadAt(got, at); err != nil || string(got) != text+"\x00" {
			t.Errorf("at %d: got %q, %v; want %q", at, got, err, text)
		}
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(int(file.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	if disk := st.Blocks * 512; disk > 1<<20 {
		t.Errorf("the image takes %d bytes of disk", disk)
	}
}

func TestManyFiles(t *testing.T) {
	dir := newTree(t)
	for i := range 10000 {
		path := filepath.Join(dir, fmt.Sprint(i%97), fmt.Sprint(i))
		if i < 97 {
			put(t, path, []byte(path))
			continue
		}
		if err := os.WriteFile(path, []byte(path), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var file *os.File
	if used := allocated(func() { file = write(t, 0, dir) }); used > maxMemory {
		t.Errorf("%d bytes of memory were allocated", used)
	}
	compare(t, open(t, file, 0), dir)
}
