package runc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// Name is the value of a function's sandbox key, and of its runtime key where
// it names none.
const Name = "runc"

// A Driver starts functions in containers of OCI runtimes. Its methods may be
// called concurrently.
type Driver struct {
	host   sandbox.Host
	groups *cgroup.Parent

	// making keeps the parents of control groups that only runtimes use from
	// going while a runtime makes a group in one.
	making sync.RWMutex

	mu      sync.Mutex
	checked map[string]*check // by the runtime's name
}

// A check is the answer to whether a runtime works, being found out by one
// caller at a time. Only a good answer is kept.
type check struct {
	turn  chan struct{} // holds one token: whose turn it is
	works *ociRuntime   // nil until it has worked
}

var (
	_ sandbox.Driver  = (*Driver)(nil)
	_ io.Closer       = (*Driver)(nil)
	_ sandbox.Statser = (*instance)(nil)
)

// New returns a driver. It reads and changes nothing.
func New(host sandbox.Host) *Driver {
	return &Driver{
		host:    host,
		groups:  cgroup.NewParent(parentName(host)),
		checked: map[string]*check{},
	}
}

// Name returns "runc".
func (d *Driver) Name() string { return Name }

// parentName names the parent of all groups. It has the node's name so that
// two platforms on one host don't touch each other's.
func parentName(host sandbox.Host) string { return "unifaas-" + host.Node }

// runtimesDir is where runtimes keep their state, one folder for each.
func (d *Driver) runtimesDir() string { return filepath.Join(d.host.RunDir, Name) }

// Close removes the folders of runtimes that keep nothing any more. Instances
// that go on leave theirs in use.
func (d *Driver) Close() error {
	entries, err := os.ReadDir(d.runtimesDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		errs = append(errs, removeEmpty(filepath.Join(d.runtimesDir(), e.Name())))
	}
	return errors.Join(append(errs, removeEmpty(d.runtimesDir()))...)
}

func removeEmpty(dir string) error {
	err := os.Remove(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) {
		return nil
	}
	return err
}

// An artifact is what all instances of a revision share.
type artifact struct {
	rev     *faas.Revision
	runtime *ociRuntime
	spec    *specs.Spec // without the group, which each instance has its own of
}

// Prepare makes rev's specification, and tries its runtime unless that has
// worked before.
func (d *Driver) Prepare(ctx context.Context, rev *faas.Revision) (sandbox.Artifact, error) {
	ref := rev.Function.Ref
	if rev.Image.Rootfs == "" {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: its image has no root file system for a container", ref)
	}
	rt, err := d.working(ctx, runtimeOf(rev))
	if err != nil {
		return nil, fmt.Errorf("prepare function %q: %w", ref, err)
	}
	spec, err := newSpec(rev)
	if err != nil {
		return nil, err
	}
	return &artifact{rev: rev, runtime: rt, spec: spec}, nil
}

func runtimeOf(rev *faas.Revision) string {
	if rev.Function.Runtime == "" {
		return Name
	}
	return rev.Function.Runtime
}

// working returns the runtime of that name once it has made a container.
func (d *Driver) working(ctx context.Context, name string) (*ociRuntime, error) {
	d.mu.Lock()
	c := d.checked[name]
	if c == nil {
		c = &check{turn: make(chan struct{}, 1)}
		d.checked[name] = c
	}
	d.mu.Unlock()
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c.works != nil && c.works.unchanged() {
		return c.works, nil
	}
	rt, err := d.try(ctx, name)
	if err != nil {
		return nil, unusable(ctx, name, err)
	}
	c.works = rt
	return rt, nil
}

// unusable is the error of a function whose runtime does not work.
func unusable(ctx context.Context, name string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("try runtime %q: %w", name, errors.Join(ctx.Err(), err))
	}
	text := fmt.Sprintf("its runtime %q does not work here: %v", name, err)
	if remedy := remedyFor(name, err); remedy != "" {
		text += "; " + remedy
	}
	return faas.Errorf(faas.KindUnavailable, "%s", text)
}

// runtimeNamed returns a runtime whose executable is there.
func (d *Driver) runtimeNamed(name string) (*ociRuntime, error) {
	path, err := findExecutable(name, os.Getenv("PATH"))
	if err != nil {
		return nil, err
	}
	return newRuntime(name, path, d.runtimesDir())
}

var errNotOurs = errors.New("artifact was not made by the runc driver")
