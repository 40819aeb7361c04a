package assets_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/guest/assets"
)

func checked(content []byte) error {
	if strings.HasPrefix(string(content), "bad") {
		return errors.New("it is bad")
	}
	return nil
}

// kind has two files, and is found in elsewhere, too.
func kind(elsewhere ...string) assets.Kind {
	return assets.Kind{
		System: "sys", Files: []assets.File{{"one", checked}, {"two", checked}}, Setting: "the test's setting",
		Version:   func(contents [][]byte) string { return string(contents[0]) },
		Elsewhere: func() []string { return elsewhere },
	}
}

func folder(t *testing.T, one, two string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"one": one, "two": two} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestStore(t *testing.T) {
	store := assets.NewStore(filepath.Join(t.TempDir(), "made-when-needed"))
	if all, err := store.List(kind()); err != nil || len(all) > 0 {
		t.Fatalf("an empty store: %v, %v", all, err)
	}
	from := folder(t, "1.0", "b")
	first, err := store.Add(kind(), from)
	if err != nil {
		t.Fatal(err)
	}
	if first.Version != "1.0" || first.Source != from || first.Origin != assets.Added {
		t.Errorf("added: %+v", first)
	}
	if err := os.RemoveAll(from); err != nil { // a copy is kept
		t.Fatal(err)
	}
	if text, err := os.ReadFile(first.Path("two")); err != nil || string(text) != "b" {
		t.Errorf("the copy: %q, %v", text, err)
	}
	second, err := store.Add(kind(), folder(t, "2.0", "b"))
	if err != nil {
		t.Fatal(err)
	}
	want(t, store, second.Digest, first.Digest)
	if _, err := store.Add(kind(), folder(t, "1.0", "b")); err != nil { // again, and so the newest
		t.Fatal(err)
	}
	want(t, store, first.Digest, second.Digest)
	if err := store.Remove("sys"); err == nil || !strings.Contains(err.Error(), first.ID()) {
		t.Errorf("remove one of two: %v", err)
	}
	if err := store.Remove(first.ID()); err != nil {
		t.Fatal(err)
	}
	want(t, store, second.Digest)
	if err := store.Remove("sys"); err != nil {
		t.Fatal(err)
	}
	if err := store.Remove("sys"); err == nil {
		t.Error("what is not there was removed")
	}
}

func want(t *testing.T, store *assets.Store, digests ...string) {
	t.Helper()
	all, err := store.List(kind())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range all {
		got = append(got, s.Digest)
	}
	if strings.Join(got, " ") != strings.Join(digests, " ") {
		t.Errorf("list: %q, want %q", got, digests)
	}
}

func TestWhatIsRefused(t *testing.T) {
	alone := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(alone, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, say := range map[string]string{
		folder(t, "1", "bad"):               "two is not what it should be: it is bad",
		alone:                               "name the folder that holds one and two",
		t.TempDir():                         "there is no one",
		filepath.Join(t.TempDir(), "no-no"): "no such file",
	} {
		if _, err := assets.NewStore(t.TempDir()).Add(kind(), path); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%s: want %q, got %v", path, say, err)
		}
	}
	one := kind()
	one.Files = one.Files[:1]
	if set, err := one.Read(alone, assets.Configured); err != nil || set.Path("one") != alone {
		t.Errorf("the only file of a kind: %+v, %v", set, err)
	}
}

// TestFinder checks which of several is taken.
func TestFinder(t *testing.T) {
	store := assets.NewStore(t.TempDir())
	foreign, added, named := folder(t, "foreign", ""), folder(t, "added", ""), folder(t, "named", "")
	find := func(setting string, elsewhere ...string) string {
		set, err := assets.NewFinder(kind(elsewhere...), setting, store).Find()
		if err != nil {
			return err.Error()
		}
		return set.Version
	}
	if got := find(""); got != assets.ErrNone.Error() {
		t.Errorf("nothing: %s", got)
	}
	if got := find("", filepath.Join(foreign, "none"), foreign); got != "foreign" {
		t.Errorf("elsewhere: %s", got)
	}
	if _, err := store.Add(kind(), added); err != nil {
		t.Fatal(err)
	}
	if got := find("", foreign); got != "added" {
		t.Errorf("added: %s", got)
	}
	if got := find(named, foreign); got != "named" {
		t.Errorf("named: %s", got)
	}
	// What the operator names is not replaced by something else.
	if got := find(filepath.Join(named, "gone"), foreign); !strings.Contains(got, "the test's setting names it") {
		t.Errorf("named, and not there: %s", got)
	}
}

// TestFinderSeesChanges changes files that were found.
func TestFinderSeesChanges(t *testing.T) {
	dir := folder(t, "1", "")
	f := assets.NewFinder(kind(), dir, assets.NewStore(t.TempDir()))
	first, err := f.Find()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := f.Find(); err != nil || again != first {
		t.Errorf("unchanged: %v, %v", again, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "one"), []byte("second"), 0o644); err != nil {
		t.Fatal(err)
	}
	second, err := f.Find()
	if err != nil || second.Version != "second" || second.Digest == first.Digest {
		t.Errorf("changed: %+v, %v", second, err)
	}
	// In its place, as long, and with its time: what tar and cp -p do.
	path := second.Path("one")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(path, []byte("third!"), 0o644), os.Chtimes(path, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
	if third, err := f.Find(); err != nil || third.Version != "third!" {
		t.Errorf("changed, and as old: %+v, %v", third, err)
	}
}

// TestOpenIsWhatWasChecked has a file replaced after it was checked.
func TestOpenIsWhatWasChecked(t *testing.T) {
	set, err := kind().Read(folder(t, "1", "b"), assets.Configured)
	if err != nil {
		t.Fatal(err)
	}
	f, err := set.Open("two")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.WriteFile(set.Path("two"), []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd())); err != nil || string(text) != "b" {
		t.Errorf("what was opened before: %q, %v", text, err)
	}
	if _, err := set.Open("two"); err == nil || !strings.Contains(err.Error(), "is being changed") {
		t.Errorf("got %v", err)
	}
}

// TestFIFOIsNoAsset, and nobody waits for who may write to it.
func TestFIFOIsNoAsset(t *testing.T) {
	dir := folder(t, "1", "b")
	path := filepath.Join(dir, "two")
	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := kind().Read(dir, assets.Configured); err == nil || !strings.Contains(err.Error(), "is no kernel") {
		t.Errorf("got %v", err)
	}
}

func TestDamagedSetIsFound(t *testing.T) {
	store := assets.NewStore(t.TempDir())
	set, err := store.Add(kind(), folder(t, "1", "2"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(set.Path("two"), []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	if all, err := store.List(kind()); err == nil || len(all) > 0 || !strings.Contains(err.Error(), "have changed") {
		t.Errorf("got %v, %v", all, err)
	}
	// Another is used in its place, which is told.
	caps := assets.NewFinder(kind(folder(t, "foreign", "")), "", store).Probe()
	if !caps.Works || !strings.Contains(caps.Detail, "foreign") || !strings.Contains(caps.Detail, "have changed") {
		t.Errorf("probe: %+v", caps)
	}
}

func FuzzCheckELF(f *testing.F) {
	exe, err := os.Executable()
	if err != nil {
		f.Fatal(err)
	}
	head, err := os.ReadFile(exe)
	if err != nil {
		f.Fatal(err)
	}
	if err := assets.CheckELF(head); err != nil {
		f.Fatalf("this test's program: %v", err)
	}
	if err := assets.CheckELF(head[:4096]); err == nil {
		f.Fatal("a program that is cut off is one")
	}
	f.Add(head[:4096])
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(_ *testing.T, data []byte) { _ = assets.CheckELF(data) })
}

// TestSweep has an addition find what one that was killed has left, and what
// another is at.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	for name, age := range map[string]time.Duration{"killed": 2 * time.Hour, "at-it": time.Minute} {
		path := filepath.Join(dir, ".new-"+name)
		then := time.Now().Add(-age)
		if err := errors.Join(os.Mkdir(path, 0o755), os.Chtimes(path, then, then)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := assets.NewStore(dir).Add(kind(), folder(t, "1.0", "a")); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".new-*"))
	if want := []string{filepath.Join(dir, ".new-at-it")}; err != nil || !slices.Equal(left, want) {
		t.Errorf("left: %q, %v; want %q", left, err, want)
	}
}
