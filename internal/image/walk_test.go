package image

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/tree"
)

// newWalker returns a walker at the moment when it has seen name in outside.
func newWalker(t *testing.T, outside, name string) (*walker, *unix.Stat_t) {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(outside)
	if err != nil {
		t.Fatal(err)
	}
	a := s.newAssembly()
	a.closes = append(a.closes, root)
	t.Cleanup(a.close)
	info, err := root.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	return &walker{a: a, outside: outside, inside: "/", root: root}, statOf(info)
}

// swap replaces path by a link to target.
func swap(t *testing.T, path, target string) {
	t.Helper()
	if err := os.Rename(path, path+".aside"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func mustWrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Between the look at a name and its opening, the name becomes a link: to the
// host, or to another place in the same tree.
func TestFolderSwappedAfterTheLook(t *testing.T) {
	for name, target := range map[string]func(string) string{
		"host":   func(host string) string { return host },
		"inside": func(string) string { return "other" },
	} {
		t.Run(name, func(t *testing.T) {
			outside, host := t.TempDir(), t.TempDir()
			mustWrite(t, filepath.Join(outside, "sub/file"), "own")
			mustWrite(t, filepath.Join(outside, "other/secret"), "other")
			mustWrite(t, filepath.Join(host, "secret"), "host")
			w, st := newWalker(t, outside, "sub")
			swap(t, filepath.Join(outside, "sub"), target(host))
			if err := w.subdir(t.Context(), w.root, "sub", "sub", st, st); err == nil {
				t.Error("the link was followed")
			}
			if w.a.tree.Has("/sub/secret") || len(w.files) > 0 {
				t.Error("what is behind the link got in")
			}
		})
	}
}

func TestFileSwappedAfterTheLook(t *testing.T) {
	for name, replace := range map[string]func(t *testing.T, path, host string){
		"link to the host":  func(t *testing.T, path, host string) { swap(t, path, host) },
		"link in the tree":  func(t *testing.T, path, _ string) { swap(t, path, "other") },
		"another file":      func(t *testing.T, path, _ string) { rename(t, filepath.Dir(path)+"/other", path) },
		"FIFO that blocks":  func(t *testing.T, path, _ string) { swapFIFO(t, path) },
		"gone":              func(t *testing.T, path, _ string) { rename(t, path, path+".aside") },
		"longer by a byte":  func(t *testing.T, path, _ string) { mustWrite(t, path, "own+") },
		"parent is swapped": func(t *testing.T, path, host string) { swap(t, filepath.Dir(path), filepath.Dir(host)) },
	} {
		t.Run(name, func(t *testing.T) {
			outside := t.TempDir()
			host := filepath.Join(t.TempDir(), "file")
			mustWrite(t, host, "host")
			mustWrite(t, filepath.Join(outside, "sub/file"), "own")
			mustWrite(t, filepath.Join(outside, "sub/other"), "other")
			w, st := newWalker(t, outside, "sub/file")
			replace(t, filepath.Join(outside, "sub/file"), host)
			p := pending{"sub/file", w.node(tree.File, st), identityOf(st)}
			if c, err := w.readFile(t.Context(), p); err == nil {
				t.Errorf("read %d bytes of something else", c.size)
			} else if k := faas.KindOf(err); k != faas.KindBusy && k != faas.KindInvalid {
				t.Error("kind is", k, err)
			}
		})
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func swapFIFO(t *testing.T, path string) {
	t.Helper()
	rename(t, path, path+".aside")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A change after the content was read is seen before anything is visible.
func TestChangeAfterTheReadIsSeen(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, dir string){
		"file":  func(t *testing.T, dir string) { mustWrite(t, dir+"/sub/file", "changed") },
		"more":  func(t *testing.T, dir string) { mustWrite(t, dir+"/sub/more", "") },
		"fewer": func(t *testing.T, dir string) { rename(t, dir+"/sub/file", dir+"/aside") },
		"swap":  func(t *testing.T, dir string) { swap(t, dir+"/sub", "/etc") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mustWrite(t, dir+"/sub/file", "own")
			w, _ := newWalker(t, dir, ".")
			if err := w.a.addTree(t.Context(), "/", dir, true); err != nil {
				t.Fatal(err)
			}
			if err := w.a.verify(); err != nil {
				t.Fatal("before the change:", err)
			}
			change(t, dir)
			if err := w.a.verify(); faas.KindOf(err) != faas.KindBusy {
				t.Error("after the change:", err)
			}
		})
	}
}
