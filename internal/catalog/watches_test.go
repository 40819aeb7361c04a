package catalog

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

func TestWatchesSayOnceThatTheyPoll(t *testing.T) {
	var log strings.Builder
	w := newWatches(t.TempDir(), true, slog.New(slog.NewTextHandler(&log, nil)))
	if w.watcher == nil {
		t.Skip("the kernel gives no more inotify instances")
	}
	// A watcher that is closed refuses as one without room does.
	if err := w.watcher.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.set("a", []string{t.TempDir()})
		w.renew()
		if !w.degraded {
			t.Fatal("not degraded")
		}
	}
	if n := strings.Count(log.String(), "polling instead"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
}

func TestDegradedScannerPolls(t *testing.T) {
	dir := t.TempDir()
	f, err := NewFolder(FolderOptions{Dir: dir, Rescan: time.Hour, Poll: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	s := newScanner(f, func(Update) {})
	defer s.watches.close()
	now := time.Now()
	s.list(now)
	if s.rescan != now.Add(time.Hour) {
		t.Error("next look after", s.rescan.Sub(now))
	}
	s.watches.close()
	s.watches.lose()
	s.list(now)
	if s.rescan != now.Add(time.Minute) {
		t.Error("next look after", s.rescan.Sub(now), "when degraded")
	}
}

func TestWatchesAreShared(t *testing.T) {
	root := t.TempDir()
	shared, own := filepath.Join(root, "shared"), filepath.Join(root, "own")
	for _, dir := range []string{shared, own} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w := newWatches(root, true, slog.New(slog.DiscardHandler))
	defer w.close()
	if !w.set("a", []string{shared, own, shared}) || w.set("b", []string{shared}) {
		t.Error("set tells wrongly what is new")
	}
	event := fsnotify.Event{Name: filepath.Join(shared, "file")}
	if got := w.concerned(event); len(got) != 2 {
		t.Error("concerned are", got)
	}
	w.set("a", nil)
	if got := w.concerned(event); len(got) != 1 || got[0] != "b" {
		t.Error("concerned are", got)
	}
	w.set("b", []string{root})
	w.set("b", nil)
	if got := w.watcher.WatchList(); len(got) != 0 {
		// root is watched by renew only, which has not been called.
		if len(got) != 1 || got[0] != root {
			t.Error("still watched:", got)
		}
	}
	if len(w.dirs) != 0 || len(w.byName) != 0 {
		t.Error("left over:", w.dirs, w.byName)
	}
}
