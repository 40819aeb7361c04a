package gvisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// Name is the value of a function's sandbox key.
const Name = "gvisor"

// Options are the operator's choices. The zero value is the default.
type Options struct {
	// HostNetwork gives each instance the host kernel's TCP in a network
	// namespace of its own that has only a loopback device, instead of
	// gVisor's own network stack. It is about twice as fast, and it shows the
	// host's TCP implementation to the function.
	HostNetwork bool
}

// A Driver starts functions in gVisor. Its methods may be called concurrently.
type Driver struct {
	host    sandbox.Host
	options Options
	groups  cgroup.Layout
	images  imageStore

	// limited returns nil when instances get cgroups, else why they don't.
	limited func() error
	// parent keeps the groups' parent from going while a group is made in it.
	parent sync.RWMutex
}

var (
	_ sandbox.Driver  = (*Driver)(nil)
	_ sandbox.Statser = (*instance)(nil)
)

// New returns a driver. It reads what the host offers and changes nothing.
func New(host sandbox.Host, options Options) *Driver {
	groups, err := cgroup.Discover()
	d := &Driver{
		host: host, options: options, groups: groups,
		images: imageStore{dir: filepath.Join(host.StateDir, Name)},
	}
	d.limited = sync.OnceValue(func() error {
		if err != nil {
			return fmt.Errorf("read cgroup mounts: %w", err)
		}
		return d.tryCgroup()
	})
	return d
}

// Name returns "gvisor".
func (d *Driver) Name() string { return Name }

// cgroupParent is the parent of all instances' groups. It has the node's name
// so that two platforms on one host don't touch each other's.
func (d *Driver) cgroupParent() string { return "unifaas-" + d.host.Node }

// tryCgroup makes and removes a group, the only way to know whether we may.
func (d *Driver) tryCgroup() error {
	if missing := d.groups.Missing(); len(missing) > 0 {
		return fmt.Errorf("no cgroup controller for %v", missing)
	}
	name := fmt.Sprintf("%s-probe-%d", d.host.Node, os.Getpid())
	group, err := d.createGroup(name, cgroup.Limits{Memory: 1 << 20, Pids: 1})
	if err != nil {
		return err
	}
	return d.removeGroup(context.Background(), group)
}

func (d *Driver) createGroup(name string, limits cgroup.Limits) (*cgroup.Group, error) {
	d.parent.RLock()
	defer d.parent.RUnlock()
	return d.groups.Create(d.cgroupParent(), name, limits)
}

// removeGroup removes a group, and the parent with the last one.
func (d *Driver) removeGroup(ctx context.Context, group *cgroup.Group) error {
	if err := group.Remove(ctx); err != nil {
		return err
	}
	// Held by others, it is in use: whoever is last removes it.
	if !d.parent.TryLock() {
		return nil
	}
	defer d.parent.Unlock()
	return d.groups.RemoveParent(d.cgroupParent())
}

// An artifact is what all instances of a revision share.
type artifact struct {
	rev   *faas.Revision
	image string // path of the root file system's EROFS image
	spec  []byte // OCI specification, JSON
}

// Prepare writes the image of rev's root file system, unless an earlier call
// has, and its OCI specification.
func (d *Driver) Prepare(ctx context.Context, rev *faas.Revision) (sandbox.Artifact, error) {
	if rev.Image.Rootfs == "" {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: its image has no root file system for gVisor", rev.Function.Ref)
	}
	spec, err := newSpec(rev)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	image, err := d.images.ensure(ctx, rev.Image)
	if err != nil {
		return nil, fmt.Errorf("prepare function %q: %w", rev.Function.Ref, err)
	}
	return &artifact{rev: rev, image: image, spec: text}, nil
}

// Prune removes what was prepared of images that are not among keep and have
// not been wanted for grace.
func (d *Driver) Prune(keep []faas.Image, grace time.Duration) error {
	return d.images.prune(keep, grace)
}

// cpus is how many processors the sandbox kernel makes and the function sees.
// Two are the least where the host has them: programs that see one leave out
// locks, and a quota below one still runs threads side by side.
func cpus(limit float64) int {
	host := runtime.NumCPU()
	if limit <= 0 {
		return host
	}
	return min(max(2, int(limit+0.999)), host)
}

var errNotOurs = errors.New("artifact was not made by the gvisor driver")
