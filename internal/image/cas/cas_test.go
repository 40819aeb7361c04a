package cas_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/cas"
	"github.com/unifaas/unifaas/internal/image/tree"
)

// A bag is content for trees, by digest. It counts how often it is opened.
type bag struct {
	content map[string]string
	opened  atomic.Int64
}

func newBag() *bag { return &bag{content: map[string]string{}} }

func (b *bag) file(text string) tree.Node {
	sum := sha256.Sum256([]byte(text))
	digest := hex.EncodeToString(sum[:])
	b.content[digest] = text
	return tree.Node{Type: tree.File, Mode: 0o644, Content: digest, Size: int64(len(text))}
}

func (b *bag) open(content string) cas.Opener {
	return func() (io.ReadCloser, error) {
		b.opened.Add(1)
		return io.NopCloser(strings.NewReader(b.content[content])), nil
	}
}

func sample(t testing.TB, b *bag) *tree.Tree {
	t.Helper()
	tr := tree.New()
	executable := b.file("program")
	executable.Mode = 0o4755
	old := b.file("text")
	old.MTime = 1_000_000_000
	for p, n := range map[string]tree.Node{
		"/bin/program": executable, "/etc/a": b.file("text"), "/etc/b": b.file("text"), "/etc/old": old,
		"/lib": {Type: tree.Symlink, Target: "usr/lib"}, "/shadow": {Type: tree.Symlink, Target: "/etc/shadow"},
		"/tmp": {Type: tree.Dir, Mode: 0o1777}, "/closed": {Type: tree.Dir, Mode: 0o500}, "/closed/empty": b.file(""),
	} {
		if _, err := tr.Put(p, n); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func open(t testing.TB, dir string) *cas.Store {
	t.Helper()
	s, err := cas.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func commit(t testing.TB, s *cas.Store, tr *tree.Tree, b *bag) string {
	t.Helper()
	digest, err := s.Commit(t.Context(), tr, b.open, nil)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// count is how many files there are in a folder of the store.
func count(t testing.TB, s *cas.Store, folder string) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(filepath.Join(s.Dir(), folder), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func lstat(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(path, err)
	}
	return st
}

func TestCommitMakesTheTree(t *testing.T) {
	b, s := newBag(), open(t, t.TempDir())
	digest := commit(t, s, sample(t, b), b)
	root, ok := s.Rootfs(digest)
	if !ok {
		t.Fatal("the tree is not there")
	}
	for p, want := range map[string]uint32{
		"/bin/program": unix.S_IFREG | 0o4755, "/etc/a": unix.S_IFREG | 0o644, "/tmp": unix.S_IFDIR | 0o1777, "/lib": unix.S_IFLNK | 0o777,
	} {
		if st := lstat(t, root+p); st.Mode != want {
			t.Errorf("%s has mode %o, want %o", p, st.Mode, want)
		}
	}
	a, same, old := lstat(t, root+"/etc/a"), lstat(t, root+"/etc/b"), lstat(t, root+"/etc/old")
	if a.Ino != same.Ino {
		t.Error("the same file twice takes space twice")
	}
	if old.Ino == a.Ino || old.Mtim.Sec != 1_000_000_000 || a.Mtim.Sec != 0 {
		t.Error("times are", old.Mtim, a.Mtim)
	}
	if got, err := os.ReadFile(root + "/bin/program"); err != nil || string(got) != "program" {
		t.Errorf("content %q, %v", got, err)
	}
	if target, err := os.Readlink(root + "/shadow"); err != nil || target != "/etc/shadow" {
		t.Errorf("link leads to %q, %v", target, err)
	}
	if err := s.Verify(t.Context(), digest); err != nil {
		t.Error(err)
	}
	if n := count(t, s, "tmp"); n != 0 {
		t.Errorf("%d files are left in tmp", n)
	}
}

func TestCommitOfWhatIsThereReadsNothing(t *testing.T) {
	b, s := newBag(), open(t, t.TempDir())
	tr := sample(t, b)
	commit(t, s, tr, b)
	objects, opened := count(t, s, "objects"), b.opened.Load()
	commit(t, s, tr, b)
	if _, err := tr.Put("/another", b.file("text")); err != nil {
		t.Fatal(err)
	}
	commit(t, open(t, s.Dir()), tr, b)
	if b.opened.Load() != opened || count(t, s, "objects") != objects {
		t.Error("content was imported again")
	}
}

func TestConcurrentCommits(t *testing.T) {
	b := newBag()
	dir := t.TempDir()
	stores := []*cas.Store{open(t, dir), open(t, dir)} // as two processes would
	tr := sample(t, b)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if _, err := stores[i%2].Commit(t.Context(), tr, b.open, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := stores[0].Verify(t.Context(), tr.Digest()); err != nil {
		t.Error(err)
	}
	if n := count(t, stores[0], "tmp"); n != 0 {
		t.Errorf("%d files are left in tmp", n)
	}
}

func TestFailedCommitLeavesNothingVisible(t *testing.T) {
	broken := errors.New("input/output error")
	for name, change := range map[string]func(*bag) (func(string) cas.Opener, func() error){
		"open fails": func(*bag) (func(string) cas.Opener, func() error) {
			return func(string) cas.Opener { return func() (io.ReadCloser, error) { return nil, broken } }, nil
		},
		"other content": func(*bag) (func(string) cas.Opener, func() error) {
			return func(string) cas.Opener {
				return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("other")), nil }
			}, nil
		},
		"longer content": func(b *bag) (func(string) cas.Opener, func() error) {
			return func(c string) cas.Opener {
				return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(b.content[c] + "x")), nil }
			}, nil
		},
		"verify fails": func(b *bag) (func(string) cas.Opener, func() error) { return b.open, func() error { return broken } },
	} {
		t.Run(name, func(t *testing.T) {
			b, s := newBag(), open(t, t.TempDir())
			tr := sample(t, b)
			opener, verify := change(b)
			if _, err := s.Commit(t.Context(), tr, opener, verify); err == nil {
				t.Fatal("no error")
			}
			if _, ok := s.Rootfs(tr.Digest()); ok || count(t, s, "trees") != 0 || count(t, s, "tmp") != 0 {
				t.Error("something is left")
			}
			commit(t, s, tr, b)
			if err := s.Verify(t.Context(), tr.Digest()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCommitThatJoinsACanceledOne(t *testing.T) {
	b, s := newBag(), open(t, t.TempDir())
	tr := sample(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	inside, first := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := s.Commit(ctx, tr, b.open, func() error { close(inside); <-ctx.Done(); return ctx.Err() })
		first <- err
	}()
	<-inside
	second := make(chan error, 1)
	go func() {
		_, err := s.Commit(t.Context(), tr, b.open, nil)
		second <- err
	}()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Error("first:", err)
	}
	if err := <-second; err != nil {
		t.Error("second:", err)
	}
}

func TestOpenRemovesLeftovers(t *testing.T) {
	b, dir := newBag(), t.TempDir()
	s := open(t, dir)
	digest := commit(t, s, sample(t, b), b)
	torn := filepath.Join(dir, "tmp", "commit-1", "tree", "rootfs")
	if err := os.MkdirAll(torn, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(torn, "half"), []byte("ha"), 0o400); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if n := count(t, s, "tmp"); n != 0 {
		t.Errorf("%d files are left in tmp", n)
	}
	if err := s.Verify(t.Context(), digest); err != nil {
		t.Error(err)
	}
}

func TestOpenRefusesAnotherVersion(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "version"), []byte("99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cas.Open(dir); faas.KindOf(err) != faas.KindInvalid || !strings.Contains(err.Error(), "99") {
		t.Error("got", err)
	}
}

func TestVerifyFindsDamageAndRemoveHeals(t *testing.T) {
	for name, damage := range map[string]func(root string) error{
		"content": func(root string) error { return os.WriteFile(root+"/etc/a", []byte("TEXT"), 0o600) },
		"missing": func(root string) error { return os.Remove(root + "/etc/a") },
		"more":    func(root string) error { return os.WriteFile(root+"/more", nil, 0o600) },
		"swapped": func(root string) error {
			if err := os.Remove(root + "/etc/a"); err != nil {
				return err
			}
			return os.Symlink("/etc/hostname", root+"/etc/a")
		},
		"link": func(root string) error { return errors.Join(os.Remove(root+"/lib"), os.Symlink("/", root+"/lib")) },
		"mode": func(root string) error { return os.Chmod(root+"/etc/a", 0o666) },
		"folder": func(root string) error {
			return errors.Join(os.Remove(root+"/tmp"), os.WriteFile(root+"/tmp", nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, s := newBag(), open(t, t.TempDir())
			tr := sample(t, b)
			digest := commit(t, s, tr, b)
			root, _ := s.Rootfs(digest)
			if err := damage(root); err != nil {
				t.Fatal(err)
			}
			if err := s.Verify(t.Context(), digest); err == nil {
				t.Fatal("the damage was not found")
			}
			if err := s.Remove(t.Context(), digest); err != nil {
				t.Fatal(err)
			}
			commit(t, s, tr, b)
			if err := s.Verify(t.Context(), digest); err != nil {
				t.Error("after repair:", err)
			}
		})
	}
}

func TestPrune(t *testing.T) {
	b, s := newBag(), open(t, t.TempDir())
	keep := commit(t, s, sample(t, b), b)
	other := sample(t, b)
	if _, err := other.Put("/own", b.file("only here")); err != nil {
		t.Fatal(err)
	}
	drop := commit(t, s, other, b)
	isKept := func(d string) bool { return d == keep }
	if p, err := s.Prune(t.Context(), cas.PruneOptions{Keep: isKept, Grace: time.Hour}); err != nil || p.Trees != 0 || p.Objects != 0 {
		t.Errorf("within grace: %+v, %v", p, err)
	}
	p, err := s.Prune(t.Context(), cas.PruneOptions{Keep: isKept})
	if err != nil || p.Trees != 1 || p.Objects != 1 || p.Bytes != int64(len("only here")) {
		t.Errorf("pruned %+v, %v", p, err)
	}
	if _, ok := s.Rootfs(drop); ok {
		t.Error("the other tree is still there")
	}
	if err := s.Verify(t.Context(), keep); err != nil {
		t.Error(err)
	}
	commit(t, s, other, b)
	if err := s.Verify(t.Context(), drop); err != nil {
		t.Error(err)
	}
}

func TestPruneWaitsForWorkInProgress(t *testing.T) {
	b, s := newBag(), open(t, t.TempDir())
	inside, leave := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		_, err := s.Commit(t.Context(), sample(t, b), b.open, func() error { close(inside); <-leave; return nil })
		done <- err
	}()
	<-inside
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	nothing := func(string) bool { return false }
	if _, err := s.Prune(ctx, cas.PruneOptions{Keep: nothing}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error("prune did not wait:", err)
	}
	open(t, s.Dir()) // must not sweep what is being made
	close(leave)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A path of the store that was swapped for a link is not written through.
func TestSwappedShardIsNotWrittenThrough(t *testing.T) {
	b, s := newBag(), open(t, t.TempDir())
	victim := t.TempDir()
	tr := tree.New()
	if _, err := tr.Put("/a", tree.Node{Type: tree.Symlink, Target: victim}); err != nil {
		t.Fatal(err)
	}
	at, err := tr.Put("/a/b", b.file("x"))
	if err != nil {
		t.Fatal(err)
	}
	digest := commit(t, s, tr, b)
	if entries, _ := os.ReadDir(victim); len(entries) != 0 {
		t.Error("written to the host:", entries)
	}
	root, _ := s.Rootfs(digest)
	if got, err := os.ReadFile(root + at); err != nil || !bytes.Equal(got, []byte("x")) {
		t.Errorf("%q, %v", got, err)
	}
}
