package catalog

import (
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

// watches are the folders that the kernel watches for us, and for whom.
type watches struct {
	logger   *slog.Logger
	root     string            // the folder of all functions, watched always
	watcher  *fsnotify.Watcher // nil when the kernel gave none
	degraded bool              // not all that should be is watched
	said     bool              // that it is
	dirs     map[string]map[string]bool
	byName   map[string][]string
}

func newWatches(root string, notify bool, logger *slog.Logger) *watches {
	w := &watches{root: root, logger: logger, dirs: map[string]map[string]bool{}, byName: map[string][]string{}}
	if !notify {
		w.degraded = true
		return w
	}
	var err error
	if w.watcher, err = fsnotify.NewWatcher(); err != nil {
		w.watcher = nil
		w.degrade(err)
	}
	return w
}

func (w *watches) degrade(err error) {
	if !w.said {
		w.logger.Warn("folders can't all be watched; polling instead, raise fs.inotify.max_user_watches or max_user_instances", "err", err)
	}
	w.degraded, w.said = true, true
}

// lose is called when the kernel's watch has ended by itself.
func (w *watches) lose() {
	w.watcher = nil
	w.degrade(fsnotify.ErrClosed)
}

// close also ends the channels.
func (w *watches) close() {
	if w.watcher != nil {
		_ = w.watcher.Close() // it never fails
	}
}

func (w *watches) events() <-chan fsnotify.Event {
	if w.watcher == nil {
		return nil
	}
	return w.watcher.Events
}

func (w *watches) errors() <-chan error {
	if w.watcher == nil {
		return nil
	}
	return w.watcher.Errors
}

// set makes dirs the folders to watch for name, and reports whether one of
// them has not been watched before.
func (w *watches) set(name string, dirs []string) bool {
	added := false
	wanted := make(map[string]bool, len(dirs))
	for _, dir := range dirs {
		if wanted[dir] {
			continue
		}
		wanted[dir] = true
		if w.dirs[dir] == nil {
			w.dirs[dir] = map[string]bool{}
			added = w.add(dir) || added
		}
		w.dirs[dir][name] = true
	}
	for _, dir := range w.byName[name] {
		if !wanted[dir] {
			w.drop(dir, name)
		}
	}
	unique := make([]string, 0, len(wanted))
	for dir := range wanted {
		unique = append(unique, dir)
	}
	if len(unique) == 0 {
		delete(w.byName, name)
	} else {
		w.byName[name] = unique
	}
	return added
}

func (w *watches) add(dir string) bool {
	if w.watcher == nil {
		return false
	}
	err := w.watcher.Add(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.degrade(err)
	}
	return err == nil
}

func (w *watches) drop(dir, name string) {
	delete(w.dirs[dir], name)
	if len(w.dirs[dir]) > 0 {
		return
	}
	delete(w.dirs, dir)
	if w.watcher != nil && dir != w.root {
		_ = w.watcher.Remove(dir) // it fails when the folder is gone, and its watch with it
	}
}

// renew watches everything again: a folder that was replaced by another of
// the same name is not watched any more.
func (w *watches) renew() {
	w.degraded = w.degraded && w.watcher == nil
	w.add(w.root)
	for dir := range w.dirs {
		w.add(dir)
	}
}

// inRoot returns the name that path has directly in the folder of all functions.
func (w *watches) inRoot(path string) (string, bool) {
	return filepath.Base(path), filepath.Dir(path) == w.root
}

// concerned returns for whom the folder of an event is watched.
func (w *watches) concerned(e fsnotify.Event) []string {
	var names []string
	for _, dir := range []string{filepath.Dir(e.Name), e.Name} {
		for name := range w.dirs[dir] {
			names = append(names, name)
		}
	}
	return names
}
