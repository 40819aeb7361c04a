package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Start calls fork, and every process that fork starts with attr is born
// inside the group: no instant of its life is unaccounted.
//
// In version 2 the kernel does that (CLONE_INTO_CGROUP). In version 1 a child
// is born where the thread is that forks it, so the calling thread moves into
// the group, and back again; only for its own thread, which takes none of the
// kernel's locks that moving another process does. fork is called by a
// goroutine that is locked to a thread, which is not the process's first; it
// must start processes from there, and must not do slow work.
func (g *Group) Start(fork func(attr *syscall.SysProcAttr) error) error {
	attr := &syscall.SysProcAttr{}
	if dir := g.unified(); dir != "" {
		f, err := os.Open(dir)
		if err != nil {
			return fmt.Errorf("open cgroup %q: %w", g.name, err)
		}
		defer func() { _ = f.Close() }()
		attr.UseCgroupFD, attr.CgroupFD = true, int(f.Fd())
	}
	home, err := g.layout.home()
	if err != nil {
		return err
	}
	result := make(chan error, 1)
	go g.onThread(home, func() error { return fork(attr) }, result)
	return <-result
}

// onThread runs fork on a thread of its own that is inside the group
// meanwhile. It must not be the process's first one, whose memory cgroup is
// that of the whole process.
func (g *Group) onThread(home map[string]string, fork func() error, result chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		again := make(chan error, 1)
		go g.onThread(home, fork, again)
		err := <-again
		runtime.UnlockOSThread()
		result <- err
		return
	}
	err := g.enter(home)
	if err == nil {
		err = fork()
	}
	// A thread that can't go home must not serve the platform from inside an
	// instance's limits: left locked, it ends with this goroutine.
	if leave(home) == nil {
		runtime.UnlockOSThread()
	}
	result <- err
}

// enter moves the calling thread into the group's version 1 folders.
func (g *Group) enter(home map[string]string) error {
	for dir := range home {
		if err := write(filepath.Join(dir, g.parent, g.name, "tasks"), "0"); err != nil {
			return fmt.Errorf("enter cgroup %q: %w", g.name, err)
		}
	}
	return nil
}

// leave moves the calling thread back to where it came from.
func leave(home map[string]string) error {
	for dir, sub := range home {
		if err := write(filepath.Join(dir, sub, "tasks"), "0"); err != nil {
			return err
		}
	}
	return nil
}

// home returns, for each version 1 folder, the group below it that this
// process is in. It is empty where there is no version 1 hierarchy.
func (l Layout) home() (map[string]string, error) {
	if len(l.V1) == 0 {
		return nil, nil
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/cgroup", unix.Getpid()))
	if err != nil {
		return nil, err
	}
	return l.parseHome(string(b)), nil
}

// parseHome reads "id:controllers:path" lines (cgroups(7)). Who sees groups from
// another one's cgroup namespace is shown paths with "..", which are none below
// a folder.
func (l Layout) parseHome(text string) map[string]string {
	home := map[string]string{}
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 || !filepath.IsAbs(parts[2]) || slices.Contains(strings.Split(parts[2], "/"), "..") {
			continue
		}
		for _, c := range strings.Split(parts[1], ",") {
			if dir := l.V1[c]; dir != "" {
				home[dir] = parts[2]
			}
		}
	}
	return home
}

// An Entrance is what a process is made a member of a group with, by somebody
// who forks with system calls. Nothing of the group's is held but these files.
type Entrance struct {
	// Unified is the group's version 2 folder, for CLONE_INTO_CGROUP of
	// clone3(2), or nil.
	Unified *os.File
	// Tasks are a file for each version 1 hierarchy. A process that writes "0"
	// enters; while it has one thread, that takes none of the kernel's locks
	// that moving another process does.
	Tasks []*os.File
}

// Close closes the files.
func (e *Entrance) Close() {
	if e.Unified != nil {
		_ = e.Unified.Close()
	}
	for _, f := range e.Tasks {
		_ = f.Close()
	}
}

// Open opens the group's entrance, which the caller closes.
func (g *Group) Open() (*Entrance, error) {
	e := &Entrance{}
	var err error
	if dir := g.unified(); dir != "" {
		if e.Unified, err = os.Open(dir); err != nil {
			return nil, fmt.Errorf("open cgroup %q: %w", g.name, err)
		}
	}
	for _, dir := range g.layout.v1Folders() {
		f, err := os.OpenFile(filepath.Join(dir, g.parent, g.name, "tasks"), os.O_WRONLY, 0)
		if err != nil {
			e.Close()
			return nil, fmt.Errorf("open cgroup %q: %w", g.name, err)
		}
		e.Tasks = append(e.Tasks, f)
	}
	return e, nil
}
