package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/unifaas/unifaas/internal/config"
	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/assets"
	"github.com/unifaas/unifaas/internal/guest/linux"
	"github.com/unifaas/unifaas/internal/guest/linux/kernel"
	"github.com/unifaas/unifaas/internal/guest/nanos"
	"github.com/unifaas/unifaas/internal/guest/osv"
	"github.com/unifaas/unifaas/internal/vmm/qemu"
	"github.com/unifaas/unifaas/test/bench/peers"
)

// What names the kernels of unikernels, for the platform and for us.
const (
	nanosVariable = "UNIFAAS_NANOS_DIR"
	osvVariable   = "UNIFAAS_OSV_LOADER"
)

// A field is all that competes in one leg. Each is started when it is asked
// for the first time, and ends with the field.
type field struct {
	bench *bench
	leg   string
	peers map[string]entry
	undo  []func() error
}

// An entry is a peer, or why there is none.
type entry struct {
	peer peers.Peer
	err  error
}

func (b *bench) newField(leg string) *field {
	return &field{bench: b, leg: leg, peers: map[string]entry{}}
}

// peer returns the peer of that name.
func (f *field) peer(ctx context.Context, name string) (peers.Peer, error) {
	e, ok := f.peers[name]
	if !ok {
		e.peer, e.err = f.newPeer(ctx, name)
		if e.err == nil {
			f.undo = append(f.undo, e.peer.Close)
		}
		f.peers[name] = e
	}
	return e.peer, e.err
}

func (f *field) newPeer(ctx context.Context, name string) (peers.Peer, error) {
	b := f.bench
	kind := map[string]struct {
		dir string
		new func(dir string) (peers.Peer, error)
	}{
		bareFloor: {"floor", func(dir string) (peers.Peer, error) {
			exe, err := b.build(ctx, "clone-and-exec", "./test/bench/floor")
			return peers.NewFloor(exe, dir, b.rev), err
		}},
		bareRunc:  {"runc", func(dir string) (peers.Peer, error) { return peers.NewRunc(dir, b.rev) }},
		bareRunsc: {"runsc", func(dir string) (peers.Peer, error) { return peers.NewRunsc(b.unifaas, dir, b.rev) }},
		bareQEMU:  {"qemu", f.machine(ctx, qemu.Microvm, linux.Name)},
		bareLinux: {"linux", f.machine(ctx, qemu.Q35, linux.Name)},
		bareNanos: {"nanos", f.machine(ctx, qemu.Q35, nanos.Name)},
		bareOSv:   {"osv", f.machine(ctx, qemu.Q35, osv.Name)},
		dockerRun: {"docker", func(dir string) (peers.Peer, error) {
			return peers.NewDocker(ctx, b.group, dir, b.rev, b.program)
		}},
	}[name]
	dir, err := b.dir(f.leg + "-" + kind.dir + "-peer")
	if err != nil {
		return nil, err
	}
	return kind.new(dir)
}

// machine returns what makes a peer of QEMU alone.
func (f *field) machine(ctx context.Context, kind qemu.Type, guest string) func(dir string) (peers.Peer, error) {
	return func(dir string) (peers.Peer, error) {
		system, err := system(guest, dir)
		if err != nil {
			return nil, err
		}
		return peers.NewMachine(ctx, dir, kind, system, f.bench.rev)
	}
}

// system returns a guest system with its images in a folder, and the kernel that
// the platform would take.
func system(name, dir string) (guest.System, error) {
	store := assets.NewStore(assets.Dir(config.DefaultDirs().StateDir))
	switch name {
	case nanos.Name:
		return nanos.NewSystem(dir, assets.NewFinder(nanos.Assets(), os.Getenv(nanosVariable), store)), nil
	case osv.Name:
		return osv.NewSystem(dir, assets.NewFinder(osv.Assets(), os.Getenv(osvVariable), store)), nil
	}
	kernels, err := kernels()
	return linux.NewSystem(dir, kernels), err
}

// ours returns a platform with one function, "benchmark", each of whose
// requests starts an instance in the contest's sandbox; or an error that says
// why that does not work here.
func (f *field) ours(ctx context.Context, c contest) (*platform, error) {
	return f.platform(ctx, c.sandbox, c.monitor, map[string]function{"benchmark": c.function()})
}

// platform returns a platform whose functions use the one sandbox.
func (f *field) platform(ctx context.Context, sandbox, monitor string, functions map[string]function) (*platform, error) {
	at, err := f.place(ctx, sandbox)
	if err != nil {
		return nil, err
	}
	name := strings.TrimSuffix(f.leg+"-"+sandbox+"-"+monitor, "-")
	if err := f.bench.examine(ctx, name+"-doctor", sandbox, at); err != nil {
		return nil, err
	}
	p, err := f.bench.startUnifaas(ctx, name, functions, at)
	if err == nil {
		f.undo = append(f.undo, p.Stop)
	}
	return p, err
}

// place returns where a platform of a sandbox must run: one for Docker beside
// its daemon, one for machines with the kernels of the platform that is
// installed here.
func (f *field) place(ctx context.Context, sandbox string) (place, error) {
	switch sandbox {
	case linux.Name:
		kernels, err := kernels()
		return place{env: []string{"UNIFAAS_MACHINES_KERNELS=" + kernels}}, err
	case nanos.Name:
		return unikernel(nanos.Assets(), nanosVariable)
	case osv.Name:
		return unikernel(osv.Assets(), osvVariable)
	}
	if sandbox != "docker" {
		return place{}, nil
	}
	p, err := f.peer(ctx, dockerRun)
	if err != nil {
		return place{}, err
	}
	docker := p.(*peers.Docker)
	at := place{netns: docker.NetNS()}
	if host := docker.Host(); host != "" {
		at.env = []string{"DOCKER_HOST=" + host}
	}
	return at, nil
}

// unikernel returns the place of a platform with the kernel of a unikernel that
// the variable names, or that the platform installed here has.
func unikernel(kind assets.Kind, variable string) (place, error) {
	store := assets.NewStore(assets.Dir(config.DefaultDirs().StateDir))
	set, err := assets.NewFinder(kind, os.Getenv(variable), store).Find()
	if err != nil {
		return place{}, err
	}
	path := set.Path(kind.Files[0].Name)
	if len(kind.Files) > 1 {
		path = filepath.Dir(path)
	}
	return place{env: []string{variable + "=" + path}}, nil
}

// kernels returns the folder of kernels that machines boot: the platform's own,
// or what the environment names.
func kernels() (string, error) {
	dir := cmp.Or(os.Getenv("UNIFAAS_MACHINES_KERNELS"), linux.Kernels(config.DefaultDirs().StateDir))
	_, err := kernel.NewStore(dir).Default()
	return dir, err
}

// close ends all, the last first.
func (f *field) close() error {
	var errs []error
	for _, undo := range slices.Backward(f.undo) {
		errs = append(errs, undo())
	}
	f.undo = nil
	if err := errors.Join(append(errs, f.bench.group.StopAll())...); err != nil {
		return fmt.Errorf("end of %s: %w", f.leg, err)
	}
	return nil
}

// place is where a platform runs, beside the defaults.
type place struct {
	netns *os.File // nil is ours
	env   []string
}
