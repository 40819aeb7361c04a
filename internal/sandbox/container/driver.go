package container

import (
	"errors"
	"os"
	"sync"

	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/host/ids"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// Name is the value of a function's sandbox key.
const Name = "container"

// Options are the operator's choices. The zero value is the default.
type Options struct {
	// FirstUID is the first of the numbers that instances are mapped to on the
	// host, users and groups, when the platform runs as root; default
	// [ids.FirstRange]. Each instance gets 65536 of its own.
	FirstUID uint32
	// Launcher is the launcher program; default is the one in this build.
	Launcher []byte
}

// A Driver starts functions in containers. Its methods may be called
// concurrently.
type Driver struct {
	host   sandbox.Host
	groups *cgroup.Parent
	ids    *ids.Allocator // nil where the platform may not give out user numbers

	program  func() (*os.File, error) // the launcher's
	launcher launcher
	filter   func() ([]byte, error)
}

var (
	_ sandbox.Driver  = (*Driver)(nil)
	_ sandbox.Statser = (*instance)(nil)
)

// New returns a driver. It reads what the host offers and changes nothing.
func New(host sandbox.Host, options Options) *Driver {
	d := &Driver{
		host: host,
		// It has the node's name so that two platforms on one host don't touch
		// each other's.
		groups: cgroup.NewParent("unifaas-" + host.Node),
		filter: sync.OnceValues(newFilter),
	}
	d.program = sync.OnceValues(func() (*os.File, error) { return openLauncher(options.Launcher, host.StateDir) })
	if os.Geteuid() == 0 {
		d.ids = ids.New(host.Node, ids.RangeSpace(options.FirstUID))
	}
	return d
}

// Close ends the launcher. Instances are not touched; no more can be started.
func (d *Driver) Close() error { return d.launcher.close() }

// Name returns "container".
func (d *Driver) Name() string { return Name }

var errNotOurs = errors.New("artifact was not made by the container driver")
