package runc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/oci"
	"github.com/unifaas/unifaas/internal/sandbox"
)

const (
	// probeDirs is the pattern of the names of the probes' folders.
	probeDirs = ".runc-probe-*"
	// probeTimeout bounds a probe: a hundred times what it takes.
	probeTimeout = 10 * time.Second
	// idleMemory is what an idle instance with a small function takes, bytes.
	idleMemory = 4 << 20
)

// probes tells the containers of concurrent probes apart.
var probes atomic.Int64

// Probe makes a container with the default runtime. Functions that name
// another one learn in Prepare whether that works.
func (d *Driver) Probe(ctx context.Context) sandbox.Capabilities {
	if err := mayEnter(os.Geteuid()); err != nil {
		return sandbox.Capabilities{Reason: err.Error(), Remedy: rootRemedy}
	}
	if err := d.groups.Usable(); err != nil {
		return sandbox.Capabilities{Reason: err.Error(), Remedy: cgroup.Remedy(err)}
	}
	rt, err := d.try(ctx, Name)
	if err != nil {
		return sandbox.Capabilities{Reason: err.Error(), Remedy: remedyFor(Name, err)}
	}
	return sandbox.Capabilities{Works: true, Detail: rt.version, Isolation: sandbox.SharedKernel, MemoryEstimate: idleMemory}
}

const rootRemedy = `run as root, or use the sandbox "gvisor" or "container"`

// errNotRoot says why an ordinary user can't use runtimes, although some of
// them work without root: setns(2) into a network namespace needs its owner's
// privileges in the user namespace that the caller is in, too.
var errNotRoot = errors.New("only root can connect to a function in a container that another program has made")

func mayEnter(uid int) error {
	if uid != 0 {
		return errNotRoot
	}
	return nil
}

// try makes a container whose program is never executed, in folders of its
// own, and removes it. Everything else happens as in a start.
func (d *Driver) try(ctx context.Context, name string) (rt *ociRuntime, err error) {
	if err := mayEnter(os.Geteuid()); err != nil {
		return nil, err
	}
	if rt, err = d.runtimeNamed(name); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := rt.askVersion(ctx); err != nil {
		return nil, err
	}
	// In the run folder, where a sweep finds what a probe that is cut off leaves.
	if err := os.MkdirAll(d.host.RunDir, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(d.host.RunDir, probeDirs)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return rt, d.tryIn(ctx, dir, rt)
}

func (d *Driver) tryIn(ctx context.Context, dir string, rt *ociRuntime) (err error) {
	rev, err := probeRevision(dir)
	if err != nil {
		return err
	}
	spec, err := newSpec(rev)
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, null.Close()) }()
	bundle := filepath.Join(dir, "bundle")
	if err := os.Mkdir(bundle, 0o700); err != nil {
		return err
	}
	i, err := d.start(ctx, &artifact{rev: rev, runtime: rt, spec: spec}, sandbox.Spec{
		ID: fmt.Sprintf("%s-probe-%d-%d", d.host.Node, os.Getpid(), probes.Add(1)), Revision: rev, Dir: bundle, Output: null,
		Record: func(any) error { return nil }, // nobody recovers a probe; a sweep finds it
	}, rt.create)
	if err != nil {
		return err
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return i.Stop(stop)
}

// probeRevision is a function whose program only has to be there.
func probeRevision(dir string) (*faas.Revision, error) {
	rootfs := filepath.Join(dir, "rootfs")
	for _, name := range append(oci.MountPoints(), "/") {
		if err := os.MkdirAll(filepath.Join(rootfs, name), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(rootfs, "probe"), nil, 0o755); err != nil {
		return nil, err
	}
	return &faas.Revision{
		Function: faas.Function{Ref: faas.NewRef("probe"), Command: []string{"/probe"}, Limits: faas.Limits{Memory: 64 << 20}},
		Image:    faas.Image{Digest: "probe", Rootfs: rootfs},
	}, nil
}

// remedyFor returns what would make a runtime work, "" when that is unknown.
func remedyFor(name string, err error) string {
	switch {
	case errors.Is(err, errNotRoot):
		return rootRemedy
	case errors.Is(err, errNotFound) && !strings.ContainsRune(name, '/'):
		return fmt.Sprintf("install it (on Debian and Ubuntu: apt-get install %s), or name the path of another runtime", name)
	case errors.Is(err, errNotFound):
		return "install it there, or correct runtime in function.toml"
	case strings.Contains(err.Error(), "hybrid mode not supported"):
		return "use another runtime, for instance runc, or boot with cgroups of version 2 only (systemd.unified_cgroup_hierarchy=1)"
	default:
		return ""
	}
}
