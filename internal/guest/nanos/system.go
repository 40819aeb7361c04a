package nanos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/assets"
	"github.com/unifaas/unifaas/internal/guest/made"
	"github.com/unifaas/unifaas/internal/guest/nanos/kernel"
	"github.com/unifaas/unifaas/internal/vmm"
)

// Name is the value of a function's sandbox key.
const Name = "nanos"

// least is the memory that the kernel and a small function need, bytes.
const least = 32 << 20

// A System makes what Nanos unikernels boot.
type System struct {
	images, kernels string // folders
	assets          *assets.Finder
}

var (
	_ guest.System   = (*System)(nil)
	_ guest.Chooser  = (*System)(nil)
	_ guest.Reporter = (*System)(nil)
)

// NewSystem returns the system that keeps its images below stateDir and takes
// kernels from a finder of [Assets]. It reads and changes nothing.
func NewSystem(stateDir string, finder *assets.Finder) *System {
	machines := filepath.Join(stateDir, "machines")
	return &System{images: filepath.Join(machines, Name+"-images"), kernels: filepath.Join(machines, Name+"-kernels"), assets: finder}
}

// Name returns "nanos".
func (s *System) Name() string { return Name }

// Probe looks for a kernel.
func (s *System) Probe(context.Context) guest.Capabilities { return s.assets.Probe() }

// Prepare makes the disk of a revision, and the kernel where the monitor is
// handed one.
func (s *System) Prepare(ctx context.Context, rev *faas.Revision, on guest.Machine) (*guest.Image, error) {
	ref := rev.Function.Ref
	boot, err := s.choose(on)
	if err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: %w", ref, err)
	}
	if rev.Image.Rootfs == "" {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: its image has no root file system for a guest", ref)
	}
	set, err := s.assets.Find()
	if err != nil {
		return nil, faas.Errorf(faas.KindUnavailable, "prepare function %q: kernel of Nanos: %w (%s)", ref, err, s.assets.Kind().Remedy)
	}
	p, err := newPlan(rev, on)
	if err != nil {
		return nil, err
	}
	path, err := s.makeDisk(ctx, rev, p, set)
	if err != nil {
		return nil, fmt.Errorf("make image of function %q: %w", ref, err)
	}
	scratch, err := s.makeScratch(rev)
	if err != nil {
		return nil, fmt.Errorf("make the disk of function %q's /tmp, which its disk = %d asks for: %w", ref, rev.Function.Limits.Disk>>20, err)
	}
	// The root file system is not written to; its disk is, with what the kernel
	// says last.
	image := &guest.Image{Boot: boot, Memory: least, Disks: []guest.Disk{{Path: path, Private: true}, {Path: scratch, Private: true}}, Made: []string{path, scratch}}
	if vm := rev.Function.VM; vm != nil {
		image.Options = vm.Hypervisor
	}
	callsBack := rev.Function.Ready.Kind == faas.ReadyCallback
	if boot == vmm.BootLinux {
		image.Cmdline = func(i guest.Instance) string { return cmdline(i, callsBack) }
		image.Kernel, err = s.patched(set)
		image.Made = append(image.Made, image.Kernel)
		return image, err
	}
	patch, at, err := openPatch(path)
	if err != nil {
		return nil, fmt.Errorf("read image of function %q: %w", ref, err)
	}
	image.Disks[0].Patch = func(w io.WriterAt, i guest.Instance) error { return patch.Apply(w, at, p.overlay(i, callsBack)) }
	return image, nil
}

// patched returns the path of the kernel as it can be booted by Linux's protocol.
func (s *System) patched(set *assets.Set) (string, error) {
	f, err := set.Open(kernelFile)
	if err != nil {
		return "", faas.Errorf(faas.KindUnavailable, "kernel of Nanos: %w", err)
	}
	defer func() { _ = f.Close() }()
	return kernel.Patched(s.kernels, f)
}

// Prune removes images that nobody needs, and copies of kernels.
func (s *System) Prune(keep []faas.Image, grace time.Duration) error {
	return errors.Join(made.Prune(s.images, keep, grace), made.PruneShared(s.kernels, grace))
}
