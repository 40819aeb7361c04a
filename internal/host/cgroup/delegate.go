package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// found is where groups may be made.
type found struct {
	layout    Layout
	delegated bool // it is a group that was given to an ordinary user
}

// own returns this process's folder in the version 2 hierarchy, "" where it
// can't be seen.
func (l Layout) own() string {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || l.V2 == "" {
		return ""
	}
	return l.ownOf(string(text))
}

// ownOf reads the line "0::path" (cgroups(7)). The path is seen from the
// hierarchy's root, and the mount may show only a part of that.
func (l Layout) ownOf(text string) string {
	for line := range strings.Lines(text) {
		path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !ok {
			continue
		}
		rel, err := filepath.Rel("/"+l.V2Root, path)
		if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			return ""
		}
		return filepath.Join(l.V2, rel)
	}
	return ""
}

// delegated returns the layout of a group that user may divide: the one that
// this process is in, if that is the user's (systemd's Delegate=). Only
// version 2 can be delegated safely. leaf is where an earlier run has moved.
func (l Layout) delegated(leaf string, user int) (Layout, bool) {
	own := l.own()
	if len(l.V1) > 0 || own == "" {
		return l, false
	}
	if filepath.Base(own) == leaf {
		own = filepath.Dir(own)
	}
	return l.below(own, user)
}

// below returns l with dir as the place to make groups in, if user owns it.
func (l Layout) below(dir string, user int) (Layout, bool) {
	for _, name := range []string{"", "cgroup.procs", "cgroup.subtree_control"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return l, false
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != user {
			return l, false
		}
	}
	available, err := readWords(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return l, false
	}
	rel, err := filepath.Rel(l.V2, dir)
	if err != nil {
		return l, false
	}
	l.V2, l.V2Root, l.V2Controllers = dir, filepath.Join("/", l.V2Root, rel), available
	return l, true
}

// claim makes the place hand its controllers down. A group of version 2 does
// that only while it holds no process (but for the hierarchy's root), so when
// it holds this one, and no other, we move into the group leaf below it.
func (l Layout) claim(leaf string) error {
	if l.V2 == "" || len(l.V2Controllers) == 0 {
		return nil
	}
	if l.own() == l.V2 && !isRoot(l.V2) {
		if err := moveTo(l.V2, leaf, os.Getpid()); err != nil {
			return err
		}
	}
	return l.enable(l.V2)
}

// leave undoes claim for this process, whose group is own.
func (l Layout) leave(own, leaf string) error {
	if own == "" || own != filepath.Join(l.V2, leaf) {
		return nil // it was not moved
	}
	if alone, err := onlyGroup(l.V2, leaf); err != nil || !alone {
		return err
	}
	// In this order: a group that hands controllers down takes no process.
	if err := l.disable(l.V2); err != nil {
		return err
	}
	if err := write(filepath.Join(l.V2, "cgroup.procs"), strconv.Itoa(os.Getpid())); err != nil {
		return errors.Join(err, l.enable(l.V2))
	}
	if err := os.Remove(own); err != nil && !isBusy(err) { // a child of ours may still be in it
		return err
	}
	return nil
}

// onlyGroup reports whether leaf is the only group below dir.
func onlyGroup(dir, leaf string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.IsDir() && e.Name() != leaf }), nil
}

// isRoot reports whether dir is the root of the whole hierarchy, which alone
// has no type.
func isRoot(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "cgroup.type"))
	return os.IsNotExist(err)
}

// moveTo moves pid, if it is the only process in dir, to the group leaf below.
func moveTo(dir, leaf string, pid int) error {
	procs, err := readWords(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return err
	}
	self := strconv.Itoa(pid)
	if i := slices.IndexFunc(procs, func(p string) bool { return p != self }); i >= 0 {
		return fmt.Errorf("the platform shares its control group %q with process %s: %w", dir, procs[i], syscall.EBUSY)
	}
	if err := os.Mkdir(filepath.Join(dir, leaf), 0o755); err != nil && !os.IsExist(err) {
		return err
	}
	return write(filepath.Join(dir, leaf, "cgroup.procs"), self)
}
