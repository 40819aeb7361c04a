package runc

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/host/netns"
	"github.com/unifaas/unifaas/internal/host/process"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// An instance is one container with one function in it.
type instance struct {
	driver *Driver
	id     string
	dir    string
	port   uint16
	ready  faas.Ready
	memory int64

	runtime *ociRuntime     // nil: it has made nothing yet
	process *process.Handle // the function's, nil while it is unknown
	group   *cgroup.Group
	netns   *netns.Handle
	watched bool // watch was called; done will be closed

	done chan struct{}
	exit sandbox.Exit // valid once done is closed

	stopMu  sync.Mutex // serialises release
	stopped bool
}

func newInstance(d *Driver, id, dir string, rev *faas.Revision) *instance {
	return &instance{
		driver: d, id: id, dir: dir,
		port: uint16(rev.Function.Port), ready: rev.Function.Ready,
		done: make(chan struct{}),
	}
}

// ID returns the instance's name.
func (i *instance) ID() string { return i.id }

// Done is closed when the function has ended.
func (i *instance) Done() <-chan struct{} { return i.done }

// Wait blocks until the function has ended and tells how.
func (i *instance) Wait() sandbox.Exit {
	<-i.done
	return i.exit
}

// Stats measures the instance by its control group.
func (i *instance) Stats(context.Context) (sandbox.Stats, error) {
	s, err := i.group.Stats()
	if err != nil {
		return sandbox.Stats{}, err
	}
	return sandbox.Stats{Memory: s.Memory, CPU: s.CPU, Pids: s.Pids}, nil
}

// findProcess takes hold of the process that the runtime's pid file names. It
// must be in the instance's group, or else be a child that has ended already:
// a runtime that names another one must not have that killed.
func (i *instance) findProcess() (*process.Handle, error) {
	text, err := os.ReadFile(filepath.Join(i.dir, pidFile))
	if err != nil {
		return nil, err
	}
	pid, err := parsePid(string(text))
	if err != nil {
		return nil, err
	}
	h, err := process.Hold(pid)
	if err != nil {
		return nil, err
	}
	members, err := i.group.Processes()
	if err != nil {
		h.Close()
		return nil, err
	}
	if !slices.Contains(members, pid) && !endedChild(pid) {
		h.Close()
		return nil, fmt.Errorf("its pid file names process %d, which is not in the container's control group", pid)
	}
	return h, nil
}

func endedChild(pid int) bool {
	s, err := process.Look(pid)
	return err == nil && s.State == 'Z' && s.Parent == os.Getpid()
}

// parsePid reads a pid file: a decimal number, perhaps with a line's end.
func parsePid(text string) (int, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32)
	if err != nil || n <= 1 {
		return 0, fmt.Errorf("the pid file has %q in it, not the number of a process", printable(text))
	}
	return int(n), nil
}
