package catalog_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image"
	"github.com/unifaas/unifaas/internal/image/elftest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A world is a folder of functions, a store and a catalog, all real.
type world struct {
	t       *testing.T
	dir     string
	state   string
	log     *strings.Builder
	options catalog.FolderOptions
	catalog *catalog.Catalog
	changes chan *catalog.Snapshot
}

const settle = 20 * time.Millisecond

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "functions"), state: t.TempDir(), log: &strings.Builder{}}
	w.mkdir("")
	// A rescan within a test would hide a change that was not noticed.
	w.options = catalog.FolderOptions{Dir: w.dir, Sandboxes: sandboxes, Settle: settle, Rescan: time.Hour}
	return w
}

func (w *world) start() *world {
	w.t.Helper()
	store, err := image.Open(filepath.Join(w.state, "store"), image.Options{Path: []string{w.dir + "/path"}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.options.Inputs = store.Inputs
	w.options.Logger = slog.New(slog.NewTextHandler(w.log, nil))
	source, err := catalog.NewFolder(w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	w.catalog = catalog.New(catalog.Options{Source: source, Images: store, RetryMin: settle, Logger: w.options.Logger})
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if err := w.catalog.Start(ctx); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.catalog.Stop)
	w.changes = make(chan *catalog.Snapshot, 10_000)
	w.catalog.Watch(func(s *catalog.Snapshot) { w.changes <- s })
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) mkdir(name string) {
	w.t.Helper()
	if err := os.MkdirAll(w.path(name), 0o755); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) write(name, content string) {
	w.t.Helper()
	w.mkdir(filepath.Dir(name))
	if err := os.WriteFile(w.path(name), []byte(content), 0o755); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) program(payload string) string {
	return string(elftest.File{Payload: payload}.Bytes(w.t))
}

// function writes a function with a program of its own.
func (w *world) function(name, program string) {
	w.t.Helper()
	w.write(name+"/server", w.program(program))
	w.write(name+"/function.toml", `image = "file:./server"`)
}

// await waits until a snapshot meets the condition.
func (w *world) await(what string, met func(*catalog.Snapshot) bool) {
	w.t.Helper()
	deadline := time.After(30 * time.Second)
	for !met(w.catalog.Snapshot()) {
		select {
		case <-w.changes:
		case <-deadline:
			list := w.catalog.Snapshot().List()
			for _, st := range list[:min(len(list), 10)] {
				w.t.Logf("%+v", *st)
			}
			w.t.Fatalf("waited in vain until %s; %d functions; log:\n%s", what, len(list), w.log)
		}
	}
}

func (w *world) awaitProgram(name, program string) {
	w.t.Helper()
	w.await(name+" serves "+program, func(s *catalog.Snapshot) bool { return serves(s, name, w.program(program)) })
}

func serves(s *catalog.Snapshot, name, content string) bool {
	rev, err := s.Lookup(name)
	if err != nil {
		return false
	}
	got, err := os.ReadFile(rev.Image.Rootfs + "/server")
	st, _ := s.Status(name)
	return err == nil && string(got) == content && st.Err == nil
}

func (w *world) awaitError(name, text string) {
	w.t.Helper()
	w.await(name+" has the error "+text, func(s *catalog.Snapshot) bool {
		st, ok := s.Status(name)
		return ok && st.Err != nil && strings.Contains(st.Err.Error(), text)
	})
}

func (w *world) do(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestFolderStart(t *testing.T) {
	w := newWorld(t)
	w.function("a", "1")
	w.function("b.two_x", "2")
	w.write("broken/function.toml", "image = 1\nmemroy = 2")
	w.write(".hidden/function.toml", "x")
	w.mkdir("neither a name nor a function")
	w.write("file", "not a folder")
	w.mkdir("empty")
	w.start()
	s := w.catalog.Snapshot()
	if s.Len() != 3 || !serves(s, "a", w.program("1")) || !serves(s, "b.two_x", w.program("2")) {
		t.Errorf("%d functions", s.Len())
	}
	st, _ := s.Status("broken")
	for _, want := range []string{w.path("broken/function.toml") + ":1:1: image must be", `:2:1: unknown key "memroy" (did you mean "memory"?)`} {
		if st == nil || !strings.Contains(st.Err.Error(), want) {
			t.Errorf("status %+v lacks %q", st, want)
		}
	}
}

func TestFolderTellsOfNamesThatAreNone(t *testing.T) {
	w := newWorld(t)
	w.function("good", "1")
	w.function("not a name", "2")
	w.function(".hidden", "3")
	w.options.NoNotify, w.options.Poll = true, settle // looks often: said once all the same
	w.start()
	w.awaitError("not a name", `folder name "not a name" is no function name; rename it to 1 to 63 letters`)
	if _, err := w.catalog.Lookup("not a name"); faas.KindOf(err) != faas.KindUnavailable {
		t.Errorf("it is looked up with %v", err)
	}
	w.function("another", "4")
	w.awaitProgram("another", "4") // some looks later
	w.do(os.Rename(w.path("not a name"), w.path("a-name")))
	w.awaitProgram("a-name", "2")
	w.await("the wrong name has gone", func(s *catalog.Snapshot) bool { _, ok := s.Status("not a name"); return !ok })
	if s := w.catalog.Snapshot(); s.Len() != 3 || !serves(s, "good", w.program("1")) {
		t.Errorf("%d functions, want good, another and a-name", s.Len())
	}
	w.catalog.Stop()
	if n := strings.Count(w.log.String(), `level=WARN msg="function can't be loaded" function="not a name"`); n != 1 {
		t.Errorf("warned %d times, want once:\n%s", n, w.log)
	}
}

func TestFolderFollowsChanges(t *testing.T) {
	w := newWorld(t).start()
	w.function("a", "1")
	w.awaitProgram("a", "1")

	w.write("a/function.toml", "image = \"file:./server\"\nmemory = 256")
	w.await("the edit", func(s *catalog.Snapshot) bool {
		rev, err := s.Lookup("a")
		return err == nil && rev.Function.Limits.Memory == 256*mebibyte
	})
	before, _ := w.catalog.Lookup("a")

	w.write("a/function.toml", "image = \"file:./ser")
	w.awaitError("a", "function.toml:1:19")
	if rev, err := w.catalog.Lookup("a"); rev != before || err != nil {
		t.Error("a half-written file dropped the good version:", err)
	}

	w.write("a/next.toml", "image = \"file:./server\"\nmemory = 512")
	w.do(os.Rename(w.path("a/next.toml"), w.path("a/function.toml")))
	w.await("the rename-over", func(s *catalog.Snapshot) bool {
		rev, err := s.Lookup("a")
		return err == nil && rev.Function.Limits.Memory == 512*mebibyte
	})

	w.do(os.Rename(w.path("a/function.toml"), w.path("a/function.toml~")))
	w.await("the removal", func(s *catalog.Snapshot) bool { return s.Len() == 0 })
	w.do(os.Rename(w.path("a/function.toml~"), w.path("a/function.toml")))
	w.awaitProgram("a", "1")
	w.do(os.RemoveAll(w.path("a")))
	w.await("the folder's removal", func(s *catalog.Snapshot) bool { return s.Len() == 0 })
	w.function("a", "again")
	w.awaitProgram("a", "again")
}

func TestFolderFollowsTheProgram(t *testing.T) {
	w := newWorld(t)
	w.function("a", "1")
	w.write("path/tool", w.program("tool"))
	w.start()
	old, _ := w.catalog.Lookup("a")

	w.write("a/server", w.program("2")) // in place
	w.awaitProgram("a", "2")
	if got, err := os.ReadFile(old.Image.Rootfs + "/server"); err != nil || string(got) != w.program("1") {
		t.Error("the older revision's program changed", err)
	}

	w.write("a/next", w.program("3"))
	w.do(os.Rename(w.path("a/next"), w.path("a/server")))
	w.awaitProgram("a", "3")

	w.do(os.Remove(w.path("a/server")))
	w.awaitError("a", "no such file")
	if !strings.HasSuffix(must(w.catalog.Lookup("a")).Image.Rootfs, "/rootfs") {
		t.Error("nothing is served")
	}
	w.write("a/server", w.program("4"))
	w.awaitProgram("a", "4")
}

func must(rev *faas.Revision, err error) *faas.Revision {
	if err != nil {
		panic(err)
	}
	return rev
}

func TestFolderProgramElsewhere(t *testing.T) {
	w := newWorld(t)
	w.write("a/function.toml", `image = "file:../../build/deep/server"`)
	w.start()
	if _, err := w.catalog.Lookup("a"); faas.KindOf(err) != faas.KindUnavailable {
		t.Error("served without a program:", err)
	}
	// None of its folders exists yet.
	w.write("../build/deep/server", w.program("1"))
	w.awaitProgram("a", "1")
	w.write("../build/deep/server", w.program("2"))
	w.awaitProgram("a", "2")
}

func TestFolderFollowsFilesDeepDown(t *testing.T) {
	w := newWorld(t)
	w.write("a/server", w.program(""))
	w.write("a/src/x/y/z/index.js", "1")
	w.write("a/function.toml", "image = \"file:./server\"\n[files]\n\"/app\" = \"./src\"")
	w.start()
	index := func(want string) func(*catalog.Snapshot) bool {
		return func(s *catalog.Snapshot) bool {
			rev, err := s.Lookup("a")
			if err != nil {
				return false
			}
			got, err := os.ReadFile(rev.Image.Rootfs + "/app/x/y/z/index.js")
			return err == nil && string(got) == want
		}
	}
	w.write("a/src/x/y/z/index.js", "2")
	w.await("the new file", index("2"))
	w.write("a/src/new/deep/file", "x")
	w.await("the new folder", func(s *catalog.Snapshot) bool {
		rev, err := s.Lookup("a")
		if err != nil {
			return false
		}
		_, err = os.Stat(rev.Image.Rootfs + "/app/new/deep/file")
		return err == nil
	})
}

func TestFolderSymbolicLinks(t *testing.T) {
	w := newWorld(t)
	w.write("../elsewhere/real/function.toml", `image = "file:../bin/server"`)
	w.write("../elsewhere/bin/v1", w.program("1"))
	w.write("../elsewhere/bin/v2", w.program("2"))
	w.do(os.Symlink("v1", w.path("../elsewhere/bin/server")))
	w.do(os.Symlink("../elsewhere/real", w.path("linked")))
	w.do(os.Symlink("/no/such/folder", w.path("dangling")))
	w.start()
	if !serves(w.catalog.Snapshot(), "linked", w.program("1")) {
		t.Fatal("the linked function is not served")
	}
	w.do(os.Symlink("v2", w.path("../elsewhere/bin/next")))
	w.do(os.Rename(w.path("../elsewhere/bin/next"), w.path("../elsewhere/bin/server")))
	w.awaitProgram("linked", "2")
	w.write("../elsewhere/bin/v2", w.program("3"))
	w.awaitProgram("linked", "3")
	w.do(os.Remove(w.path("linked")))
	w.await("the link's removal", func(s *catalog.Snapshot) bool { return s.Len() == 0 })
}

// A slow copy into place: no torn version is ever served, and the whole one is.
func TestFolderSlowCopy(t *testing.T) {
	w := newWorld(t)
	w.function("a", "1")
	w.start()
	whole := w.program(strings.Repeat("x", 1<<16))
	f, err := os.Create(w.path("a/server"))
	w.do(err)
	for i := 0; i < len(whole); i += 4096 {
		_, err := f.WriteString(whole[i:min(i+4096, len(whole))])
		w.do(err)
		time.Sleep(settle / 4)
	}
	w.do(f.Close())
	w.await("the whole program", func(s *catalog.Snapshot) bool {
		got, err := os.ReadFile(must(s.Lookup("a")).Image.Rootfs + "/server")
		if err != nil {
			t.Fatal(err)
		}
		return string(got) == whole
	})
}

// What never comes to rest is served all the same, in some version.
func TestFolderRestlessFunctionHoldsUpNothing(t *testing.T) {
	w := newWorld(t)
	w.options.SettleMax = 5 * settle
	w.function("a", "1")
	w.function("restless", "1")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(settle / 8):
				if err := os.WriteFile(w.path("restless/function.toml"), fmt.Appendf(nil, "image = \"file:./server\" # %d", i), 0o600); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	w.start()
	close(stop)
	<-stopped
	for _, name := range []string{"a", "restless"} {
		w.awaitProgram(name, "1")
	}
}

func TestFolderItselfGoesAndComesBack(t *testing.T) {
	w := newWorld(t)
	w.options.Rescan = 2 * settle
	w.function("a", "1")
	w.start()
	w.do(os.Rename(w.dir, w.dir+".aside"))
	w.do(os.Mkdir(w.dir+".new", 0o755))
	time.Sleep(10 * settle) // some looks at nothing
	if _, err := w.catalog.Lookup("a"); err != nil {
		t.Error("a folder that can't be read took its functions away:", err)
	}
	w.do(os.Rename(w.dir+".new", w.dir))
	w.await("the empty folder", func(s *catalog.Snapshot) bool { return s.Len() == 0 })
	w.function("b", "1")
	w.awaitProgram("b", "1")
}

func TestFolderMustExist(t *testing.T) {
	_, err := catalog.NewFolder(catalog.FolderOptions{Dir: "/no/such/folder"})
	if faas.KindOf(err) != faas.KindNotFound || !strings.Contains(err.Error(), "/no/such/folder") {
		t.Error("got", err)
	}
}

// Without the kernel's help, polling finds the changes.
func TestFolderByPolling(t *testing.T) {
	w := newWorld(t)
	w.options.NoNotify, w.options.Poll = true, settle
	w.function("a", "1")
	w.start()
	w.write("a/server", w.program("2"))
	w.awaitProgram("a", "2")
	w.do(os.RemoveAll(w.path("a")))
	w.await("the removal", func(s *catalog.Snapshot) bool { return s.Len() == 0 })
}

func TestThousandFunctions(t *testing.T) {
	const n = 1000
	w := newWorld(t)
	w.write("../bin/server", w.program(strings.Repeat("x", 5<<20)))
	name := func(i int) string { return fmt.Sprintf("f%04d", i) }
	add := func(from, to int) {
		for i := from; i < to; i++ {
			w.write(name(i)+"/function.toml", fmt.Sprintf("image = \"file:../../bin/server\"\n[env]\nN = \"%d\"", i))
		}
	}
	add(0, n/2)
	began := time.Now()
	w.start()
	t.Logf("%d functions at start: %v", n/2, time.Since(began))
	began = time.Now()
	add(n/2, n)
	w.await("all functions", func(s *catalog.Snapshot) bool { return len(s.Revisions()) == n })
	t.Logf("%d functions added: %v", n/2, time.Since(began))
	rootfs := map[string]bool{}
	digests := map[string]bool{}
	for i := range n {
		rev := must(w.catalog.Lookup(name(i)))
		rootfs[rev.Image.Rootfs] = true
		digests[rev.Digest] = true
		if rev.Function.Env["N"] != fmt.Sprint(i) {
			t.Errorf("%s has the configuration of %s", rev.Function.Ref, rev.Function.Env["N"])
		}
	}
	if len(rootfs) != 1 || len(digests) != n {
		t.Errorf("%d file systems and %d revisions, want 1 and %d", len(rootfs), len(digests), n)
	}
	began = time.Now()
	w.write("../bin/server", w.program("new"))
	w.await("all functions to have the new program", func(s *catalog.Snapshot) bool {
		for _, rev := range s.Revisions() {
			if rootfs[rev.Image.Rootfs] {
				return false
			}
		}
		return true
	})
	t.Logf("%d functions on another program: %v", n, time.Since(began))
}

// TestOldFilesAreWatchedToo: that a file is old by its own time and the clock
// does not say that it is whole, for the clock may have been set.
func TestOldFilesAreWatchedToo(t *testing.T) {
	const watched = 300 * time.Millisecond
	w := newWorld(t)
	w.function("f", "1")
	time.Sleep(watched + settle) // now it is old
	w.options.Settle = watched
	source, err := catalog.NewFolder(w.options)
	w.do(err)
	began := time.Now()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var after time.Duration
	w.do(source.Watch(ctx, func(u catalog.Update) {
		if len(u.Changed) > 0 {
			after = time.Since(began)
			stop()
		}
	}))
	if after < watched {
		t.Errorf("taken as whole after %v of watching, want at least %v", after, watched)
	}
}
