package gvisor

import (
	"context"
	"os"
	"sync"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/host/netns"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// An instance is one sandbox process with one function in it.
type instance struct {
	driver  *Driver
	id      string
	dir     string
	port    uint16
	ready   faas.Ready
	memory  int64
	control control
	tunnel  tunnel

	pid         int
	pidfd       *os.File
	ours        bool // the process is this one's child
	watched     bool // watch was called; done will be closed
	group       *cgroup.Group
	diagnostics *os.File
	netns       *netns.Handle // set when the host kernel does its network

	done chan struct{}
	exit sandbox.Exit // valid once done is closed

	stopMu  sync.Mutex // serialises release
	stopped bool
}

func newInstance(d *Driver, id, dir string, rev *faas.Revision) *instance {
	return &instance{
		driver: d, id: id, dir: dir,
		port: uint16(rev.Function.Port), ready: rev.Function.Ready,
		control: control{dir: dir},
		tunnel:  tunnel{dir: dir},
		done:    make(chan struct{}),
	}
}

// ID returns the instance's name.
func (i *instance) ID() string { return i.id }

// Done is closed when the sandbox has ended.
func (i *instance) Done() <-chan struct{} { return i.done }

// Wait blocks until the sandbox has ended and tells how.
func (i *instance) Wait() sandbox.Exit {
	<-i.done
	return i.exit
}

// Stats measures the instance by its cgroup, or else by its processes.
func (i *instance) Stats(context.Context) (sandbox.Stats, error) {
	if i.group == nil {
		return processStats(i.pid)
	}
	s, err := i.group.Stats()
	if err != nil {
		return sandbox.Stats{}, err
	}
	return sandbox.Stats{Memory: s.Memory, CPU: s.CPU, Pids: s.Pids}, nil
}
