package container

import (
	"context"
	"os"
	"sync"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/host/process"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// Names in an instance's folder.
const (
	statusName = "status" // the function's wait status, when it has ended
	dialName   = "dial"   // the first process's socket, where it serves
)

// An instance is one function in namespaces of its own.
type instance struct {
	driver *Driver
	id     string
	dir    string
	port   uint16
	ready  faas.Ready
	limits faas.Limits

	process *process.Handle // the first of its pid namespace
	watched bool            // watch was called; done will be closed
	group   *cgroup.Group
	uids    uint32 // first of its range; 0 when it has none
	status  *os.File

	networkMu sync.RWMutex // holds the network open while it is used
	network   network      // nil before and after

	done chan struct{}
	exit sandbox.Exit // valid once done is closed

	stopMu  sync.Mutex // serialises release
	stopped bool
}

func newInstance(d *Driver, id, dir string, rev *faas.Revision) *instance {
	return &instance{
		driver: d, id: id, dir: dir,
		port: uint16(rev.Function.Port), ready: rev.Function.Ready,
		limits: withDefaults(rev.Function.Limits),
		done:   make(chan struct{}),
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

func (i *instance) hasEnded() bool {
	select {
	case <-i.done:
		return true
	default:
		return false
	}
}

// Stats measures the instance by its cgroup, or else by its processes.
func (i *instance) Stats(context.Context) (sandbox.Stats, error) {
	if i.group == nil {
		return processStats(i.process.Pid)
	}
	s, err := i.group.Stats()
	if err != nil {
		return sandbox.Stats{}, err
	}
	return sandbox.Stats{Memory: s.Memory, CPU: s.CPU, Pids: s.Pids}, nil
}
