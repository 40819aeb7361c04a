package tfs_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/guest/nanos/tfs"
)

// volume is an image in a file, as it was built.
type volume struct {
	file *os.File
	at   int64
	size int64
}

func build(t testing.TB, tree tfs.Tree, at int64, o tfs.Options) volume {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "volume"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	b, root, err := tfs.NewBuilder(f, at, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.AddTree(t.Context(), root, tree); err != nil {
		t.Fatal(err)
	}
	size, err := b.Close()
	if err != nil {
		t.Fatal(err)
	}
	return volume{f, at, size}
}

func (v volume) open(t testing.TB) *tfs.Volume {
	t.Helper()
	read, err := tfs.Open(io.NewSectionReader(v.file, v.at, v.size), v.size)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

// describe is one line for each node of a volume: what it is, and a digest of
// its content.
func describe(t testing.TB, v *tfs.Volume) []string {
	t.Helper()
	var lines []string
	err := v.Walk(func(p string, n tfs.Node) error {
		sum := sha256.New()
		if n.Type == tfs.FileType {
			if _, err := io.Copy(sum, n.Content()); err != nil {
				return err
			}
		}
		lines = append(lines, line(p, int(n.Type), n.Size, n.Modified, n.Target, sum.Sum(nil)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(lines)
	return lines
}

func line(p string, kind int, size, modified int64, target string, sum []byte) string {
	return fmt.Sprintf("%q %d %d %d %q %x", p, kind, size, modified, target, sum[:8])
}

// describeDir is the same of a folder of the host.
func describeDir(t testing.TB, dir string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name := max(strings.TrimPrefix(p, dir), "/")
		sum := sha256.New()
		switch {
		case e.IsDir():
			lines = append(lines, line(name, int(tfs.FolderType), 0, 0, "", sum.Sum(nil)))
		case e.Type() == fs.ModeSymlink:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			lines = append(lines, line(name, int(tfs.LinkType), 0, 0, target, sum.Sum(nil)))
		default:
			f, err := os.Open(p)
			if err != nil {
				return err
			}
			defer f.Close()
			if _, err := io.Copy(sum, f); err != nil {
				return err
			}
			lines = append(lines, line(name, int(tfs.FileType), info.Size(), info.ModTime().Unix(), "", sum.Sum(nil)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(lines)
	return lines
}

func check(t testing.TB, dir string, v *tfs.Volume) {
	t.Helper()
	got, want := describe(t, v), describeDir(t, dir)
	if reflect.DeepEqual(got, want) {
		return
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("%d nodes, want %d; node %d: got %s, want %s", len(got), len(want), i, at(got, i), at(want, i))
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "none"
}

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// names are some that programs have stumbled over.
var names = []string{
	"a", "0", "1", "children", "extents", "filelength", "linktarget", "no_encode", "kernel", "with space", "tab\tand\nline", "-rf", "*", `back\slash`,
	`"quotes'`, "ünïcödé", "\xff\xfe not UTF-8", "(tuple:x)", "a=b", strings.Repeat("n", 255), ".hidden", "...", "%s%n",
}

// randomTree makes a tree below dir.
func randomTree(t testing.TB, r *rand.Rand, dir string, depth int) {
	t.Helper()
	for range r.IntN(8) {
		name := names[r.IntN(len(names))]
		if r.IntN(2) == 0 {
			name = fmt.Sprintf("%s%d", name[:min(len(name), 200)], r.IntN(1000))
		}
		p := filepath.Join(dir, name)
		if _, err := os.Lstat(p); err == nil {
			continue
		}
		var err error
		switch kind := r.IntN(6); {
		case kind == 0 && depth > 0:
			if err = os.Mkdir(p, 0o755); err == nil {
				randomTree(t, r, p, depth-1)
			}
		case kind == 1:
			err = os.Symlink(names[r.IntN(len(names))], p)
		default:
			content := make([]byte, []int{0, 1, 511, 512, 513, 4095, 4096, 4097, r.IntN(200_000)}[r.IntN(9)])
			for i := range content {
				content[i] = byte(r.Uint32())
			}
			write(t, p, content)
			if r.IntN(4) == 0 { // a hole, and something behind it
				err = os.Truncate(p, int64(len(content))+r.Int64N(1<<20))
			}
			when := time.Unix(r.Int64N(2_000_000_000)+1, 0)
			err = errors.Join(err, os.Chtimes(p, when, when))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestRandomTreesComeBack(t *testing.T) {
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 1))
		dir := t.TempDir()
		for range 3 {
			randomTree(t, r, dir, 5)
		}
		at := r.Int64N(100) * tfs.SectorSize
		free := tfs.Options{Free: r.Int64N(1 << 20)}
		v := build(t, tfs.Tree{Dir: dir}, at, free)
		check(t, dir, v.open(t))
		// What is built twice is the same.
		again := build(t, tfs.Tree{Dir: dir}, at, free)
		sum := func(v volume, n int64) [32]byte {
			b := make([]byte, n)
			if _, err := v.file.ReadAt(b, v.at); err != nil {
				t.Fatal(err)
			}
			return sha256.Sum256(b)
		}
		if sum(v, v.size) != sum(again, v.size) {
			t.Fatalf("seed %d: two builds of one tree differ", seed)
		}
	}
}

func TestAttributesComeBack(t *testing.T) {
	want := tfs.Tuple{
		{Name: "program", Value: "/bin/f"},
		{Name: "arguments", Value: tfs.List("f", "", "a b", strings.Repeat("long", 10_000))},
		{Name: "environment", Value: tfs.Tuple{{Name: "A", Value: "1"}, {Name: "program", Value: "x"}}},
		{Name: "empty", Value: tfs.Tuple(nil)},
	}
	v := build(t, tfs.Tree{Dir: t.TempDir()}, 0, tfs.Options{ID: [16]byte{1, 2, 3}, Label: "root", Attributes: want}).open(t)
	got, err := v.Attributes()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	if v.Label != "root" || v.ID != [16]byte{1, 2, 3} {
		t.Errorf("label %q, id %x", v.Label, v.ID)
	}
}

func TestTenThousandFiles(t *testing.T) {
	dir := t.TempDir()
	for i := range 10 {
		write(t, filepath.Join(dir, fmt.Sprint(i), "first"), nil)
	}
	for i := range 10_000 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i%10), fmt.Sprintf("file-with-a-name-of-some-length-%d", i)), fmt.Append(nil, i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check(t, dir, build(t, tfs.Tree{Dir: dir}, 0, tfs.Options{}).open(t))
}

func TestDeepFolders(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, strings.Repeat("d/", 1000))
	write(t, filepath.Join(deep, "file"), []byte("deep"))
	check(t, dir, build(t, tfs.Tree{Dir: dir}, 0, tfs.Options{}).open(t))
}

// TestSparse writes a file of 1 GiB that holds 3 pages, and one of as many holes
// as pages.
func TestSparse(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, at := range []int64{4096, 512 << 20, 1<<30 - 100} {
		if _, err := f.WriteAt([]byte("data"), at); err != nil {
			t.Fatal(err)
		}
	}
	comb, err := os.Create(filepath.Join(dir, "comb"))
	if err != nil {
		t.Fatal(err)
	}
	defer comb.Close()
	for i := range int64(2000) {
		if _, err := comb.WriteAt([]byte{byte(i), 1}, i*8192+7); err != nil {
			t.Fatal(err)
		}
	}
	v := build(t, tfs.Tree{Dir: dir}, 0, tfs.Options{})
	if v.size > 24<<20 {
		t.Errorf("the volume has %d bytes: holes take room", v.size)
	}
	for _, e := range entries(t, v.open(t)) {
		want := map[string]*os.File{"sparse": f, "comb": comb}[e.Name]
		if info, err := want.Stat(); err != nil || info.Size() != e.Size {
			t.Fatalf("%s: size %d, want %v (%v)", e.Name, e.Size, info, err)
		}
		for _, at := range []int64{0, 4000, 4096, 8190, 512<<20 - 2, e.Size - 110} {
			got, want1 := make([]byte, 100), make([]byte, 100)
			n, _ := e.ReadAt(got, at)
			m, _ := want.ReadAt(want1, at)
			if n != m || !bytes.Equal(got, want1) {
				t.Errorf("%s at %d: got %d bytes %q, want %d %q", e.Name, at, n, got, m, want1)
			}
		}
	}
}

func entries(t *testing.T, v *tfs.Volume) []tfs.Entry {
	t.Helper()
	root, err := v.Root()
	if err != nil {
		t.Fatal(err)
	}
	all, err := root.Entries()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestMemoryIsFlat writes a large file and sees that hardly anything of it was
// in memory.
func TestMemoryIsFlat(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "large"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := bytes.Repeat([]byte("x"), 1<<20)
	for range 100 {
		if _, err := f.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	v := build(t, tfs.Tree{Dir: dir}, 0, tfs.Options{})
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 4<<20 {
		t.Errorf("writing took %d bytes of memory", took)
	}
	if v.size < 100<<20 {
		t.Errorf("size %d", v.size)
	}
}

func TestHardLinks(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), bytes.Repeat([]byte("x"), 100_000))
	for _, name := range []string{"b", "c"} {
		if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	v := build(t, tfs.Tree{Dir: dir}, 0, tfs.Options{}).open(t)
	check(t, dir, v)
	all := entries(t, v)
	if !all[0].Same(all[1].Node) || !all[0].Same(all[2].Node) {
		t.Error("the names are not of one file")
	}
}

func TestFoldersThatAreWanted(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "etc", "hosts"), nil)
	write(t, filepath.Join(dir, "file"), nil)
	v := build(t, tfs.Tree{Dir: dir, Directories: []string{"/tmp", "/etc/a/b", "/etc/a/c", "/file", "/"}}, 0, tfs.Options{}).open(t)
	var got []string
	err := v.Walk(func(p string, n tfs.Node) error {
		got = append(got, fmt.Sprint(p, " ", n.Type))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "/ 1,/etc 1,/etc/a 1,/etc/a/b 1,/etc/a/c 1,/etc/hosts 0,/file 0,/tmp 1"
	if strings.Join(got, ",") != want {
		t.Errorf("got %v", got)
	}
}
