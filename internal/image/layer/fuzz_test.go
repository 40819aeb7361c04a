package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/cas"
	"github.com/unifaas/unifaas/internal/image/imagetest"
	"github.com/unifaas/unifaas/internal/image/layer"
	"github.com/unifaas/unifaas/internal/image/tree"
)

var background = context.Background()

// Whatever an archive holds, it becomes a sound tree, in memory and on disk, or
// an error that says that it is the archive's fault.
func FuzzLayer(f *testing.F) {
	disk := newDisk(f)
	f.Add(imagetest.Tar(f, map[string]string{"d/f": "text", ".wh.x": ""}, dir("d"), file("d/f"), symlink("l", "/d"), hardlink("h", "d/f"), file(".wh.x")))
	f.Add(imagetest.Tar(f, nil, file("../x"), file("d/.wh..wh..opq")))
	f.Add(imagetest.Sparse(1 << 40))
	f.Add(imagetest.Tar(f, nil, header{Name: "f", Typeflag: tar.TypeReg, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "\x00"}}))
	f.Fuzz(func(t *testing.T, archive []byte) {
		entries, _, err := unpack(archive, fuzzed)
		if err != nil {
			if faas.KindOf(err) != faas.KindInvalid {
				t.Error(err)
			}
			return
		}
		again, err := layer.Parse(layer.Text(entries))
		if err != nil || len(again) != len(entries) {
			t.Fatal("its text can't be read:", err)
		}
		var stack layer.Stack
		for range 2 { // on itself, so that what it hides is there
			if err := stack.Apply(entries); err != nil {
				if faas.KindOf(err) != faas.KindInvalid {
					t.Error(err)
				}
				return
			}
		}
		tr, err := stack.Tree()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tree.Parse(tr.Text()); err != nil {
			t.Error("the tree is not sound:", err)
		}
		_ = tr.Walk(func(p string, _ tree.Node) error {
			if path.Clean(p) != p || strings.Contains(p, "/.wh.") {
				t.Errorf("path %q", p)
			}
			return nil
		})
		disk.take(t, archive, tr)
	})
}

// fuzzed are limits within which an input is done with soon.
var fuzzed = layer.Limits{Bytes: 1 << 20, Slack: 1 << 20, Entries: 1000}

// A disk is a store in a folder in which there is nothing else.
type disk struct {
	dir   string
	store *cas.Store
}

func newDisk(t testing.TB) *disk {
	t.Helper()
	dir := quickDir(t)
	store, err := cas.Open(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	return &disk{dir, store}
}

// quickDir is a folder in memory, if it can have attributes there: a store makes
// all that it is given durable, which is slow on a disk.
func quickDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "layer-fuzz-") //nolint:usetesting // that one is on a disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if unix.Setxattr(dir, "user.test", []byte("1"), 0) != nil {
		return t.TempDir()
	}
	return dir
}

// take puts a layer's files and the tree that is made of them into the store,
// wants them to be what the tree says and to be nowhere else, and removes all.
func (d *disk) take(t *testing.T, archive []byte, tr *tree.Tree) {
	batch, err := d.store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := bytes.NewReader(archive)
	_, err = layer.Unpack(t.Context(), r, batch, layer.Options{
		Budget: layer.NewBudget(fuzzed), Packed: func() int64 { return int64(len(archive) - r.Len()) },
	})
	if err == nil {
		err = batch.Publish()
	}
	if err = errors.Join(err, batch.Close()); err != nil {
		t.Fatal("it can't be unpacked to disk:", err)
	}
	digest, err := d.store.Commit(t.Context(), tr, nil, nil)
	if err != nil {
		t.Fatal("it can't be made on disk:", err)
	}
	if err := d.store.Verify(t.Context(), digest); err != nil {
		t.Error(err)
	}
	removed, err := d.store.Prune(t.Context(), cas.PruneOptions{})
	if err != nil || removed.Trees != 1 {
		t.Errorf("removed %+v, %v", removed, err)
	}
	if there, err := os.ReadDir(d.dir); err != nil || len(there) != 1 {
		t.Errorf("beside the store there is %v, %v", there, err)
	}
}

func FuzzDecompress(f *testing.F) {
	f.Add(imagetest.Gzip(f, []byte("text")).Packed)
	f.Add(imagetest.Zstd(f, []byte("text")).Packed)
	f.Fuzz(func(t *testing.T, packed []byte) {
		r, err := layer.Decompress(bytes.NewReader(packed))
		if err != nil {
			return
		}
		_, _ = io.CopyN(io.Discard, r, 1<<24)
		if err := r.Close(); err != nil {
			t.Log(err)
		}
	})
}

// A model is a file system as a map from paths to content; "" is a folder.
type model map[string]string

// change changes the model at random.
func (m model) change(t *rapid.T, number int) {
	names := rapid.SampledFrom([]string{"a", "b", "c"})
	for i := range rapid.IntRange(0, 6).Draw(t, "changes") {
		p := path.Join(rapid.SliceOfN(names, 1, 3).Draw(t, "path")...)
		switch rapid.IntRange(0, 3).Draw(t, "change") {
		case 0: // a file, with the folders that it needs
			for at := range len(p) {
				if p[at] == '/' && m[p[:at]] != "" {
					m.remove(p[:at])
				}
				if p[at] == '/' {
					m[p[:at]] = ""
				}
			}
			m.remove(p)
			m[p] = fmt.Sprintf("%d.%d", number, i)
		case 1:
			m.remove(p)
		case 2:
			if content, ok := m[p]; ok && content == "" {
				for q := range m {
					if strings.HasPrefix(q, p+"/") {
						delete(m, q)
					}
				}
			}
		}
	}
}

func (m model) remove(p string) {
	for q := range m {
		if q == p || strings.HasPrefix(q, p+"/") {
			delete(m, q)
		}
	}
}

func (m model) clone() model {
	c := model{}
	for p, content := range m {
		c[p] = content
	}
	return c
}

// diff returns the layer that makes after from before, in the order of a
// permutation where whiteouts may come anywhere.
func diff(t *rapid.T, before, after model) (headers []header, contents map[string]string) {
	contents = map[string]string{}
	hidden := func(p string) bool { // by the whiteout of a folder above
		for d := path.Dir(p); d != "."; d = path.Dir(d) {
			if old, ok := before[d]; ok && (old == "") != isDir(after, d) {
				return true
			}
		}
		return false
	}
	for _, p := range sorted(before) {
		now, ok := after[p]
		if replaced := ok && (now == "") != (before[p] == ""); (!ok || replaced) && !hidden(p) {
			headers = append(headers, file(path.Join(path.Dir(p), ".wh."+path.Base(p))))
		}
	}
	added := []header{}
	for _, p := range sorted(after) {
		if old, ok := before[p]; ok && old == after[p] && !hidden(p) {
			continue
		}
		if after[p] == "" {
			added = append(added, dir(p+"/"))
		} else {
			contents[p] = after[p]
			added = append(added, file(p))
		}
	}
	if rapid.Bool().Draw(t, "whiteouts last") {
		return append(added, headers...), contents
	}
	return append(headers, added...), contents
}

func isDir(m model, p string) bool { content, ok := m[p]; return ok && content == "" }

func sorted(m model) []string {
	tr := tree.New()
	for p := range m {
		_, _ = tr.Put("/"+p, tree.Node{Type: tree.Dir}) // for the order only
	}
	var paths []string
	_ = tr.Walk(func(p string, _ tree.Node) error {
		if _, ok := m[p[1:]]; ok {
			paths = append(paths, p[1:])
		}
		return nil
	})
	return paths
}

// The layers of the differences between random file systems, on each other,
// make the last of them.
func TestLayersMakeWhatTheyAreOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stack layer.Stack
		all, now := memory{}, model{}
		for number := range rapid.IntRange(1, 4).Draw(t, "layers") {
			before := now.clone()
			now.change(t, number)
			headers, contents := diff(t, before, now)
			archive := imagetest.Tar(quiet{}, contents, headers...)
			entries, m, err := unpack(archive, layer.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range m {
				all[k] = v
			}
			if err := stack.Apply(entries); err != nil {
				t.Fatal(err)
			}
		}
		tr, err := stack.Tree()
		if err != nil {
			t.Fatal(err)
		}
		got := model{}
		_ = tr.Walk(func(p string, n tree.Node) error {
			if p != "/" {
				got[p[1:]] = all[n.Content]
			}
			return nil
		})
		if fmt.Sprint(got) != fmt.Sprint(now) {
			t.Fatalf("got %v, want %v", got, now)
		}
	})
}

// quiet lets helpers of tests be used in properties.
type quiet struct{ testing.TB }

func (quiet) Helper()           {}
func (quiet) Fatal(args ...any) { panic(fmt.Sprint(args...)) }
