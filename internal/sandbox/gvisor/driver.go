package gvisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
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
	groups  *cgroup.Parent
	images  imageStore
}

var (
	_ sandbox.Driver  = (*Driver)(nil)
	_ sandbox.Statser = (*instance)(nil)
)

// New returns a driver. It reads and changes nothing.
func New(host sandbox.Host, options Options) *Driver {
	return &Driver{
		host: host, options: options,
		// It has the node's name so that two platforms on one host don't touch
		// each other's.
		groups: cgroup.NewParent("unifaas-" + host.Node),
		images: imageStore{dir: filepath.Join(host.StateDir, Name)},
	}
}

// Name returns "gvisor".
func (d *Driver) Name() string { return Name }

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
