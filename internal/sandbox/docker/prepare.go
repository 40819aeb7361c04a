package docker

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// A way is how an instance's port is reached.
type way string

const (
	// throughNamespace: by a socket made in the container's network namespace.
	throughNamespace way = "namespace"
	// overBridge: at the container's address on a bridge.
	overBridge way = "bridge"
)

// An artifact is what all instances of a revision share.
type artifact struct {
	rev     *faas.Revision
	way     way
	cpus    int        // the machine's
	guest   bool       // the runtime has a kernel of its own
	network string     // of an instance that is reached over our bridge
	gateway netip.Addr // artefact's form: of Docker's default bridge
	volumes []string   // places that the image declares as volumes

	mu    sync.Mutex
	image string // what Docker knows it by: an ID, which does not move
}

// engineInfo is what the Engine says of itself.
type engineInfo struct{ system.Info }

func (e *engine) info(ctx context.Context) (*engineInfo, error) {
	r, err := e.Info(ctx, client.InfoOptions{})
	return &engineInfo{r.Info}, err
}

// Prepare gets rev's image into Docker's store, if it is not there, and makes
// the network that it needs.
func (d *Driver) Prepare(ctx context.Context, rev *faas.Revision) (sandbox.Artifact, error) {
	if d.broken != nil {
		return nil, d.broken
	}
	a, err := d.prepare(ctx, rev)
	if err != nil {
		return nil, d.engine.explain(err, fmt.Sprintf("prepare function %q", rev.Function.Ref))
	}
	return a, nil
}

func (d *Driver) prepare(ctx context.Context, rev *faas.Revision) (*artifact, error) {
	info, err := d.engine.info(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.sweepLate(ctx); err != nil {
		return nil, err
	}
	if err := info.checkRuntime(&rev.Function); err != nil {
		return nil, err
	}
	a := &artifact{rev: rev, cpus: info.NCPU, network: d.network.name(), guest: info.hasGuestKernel(&rev.Function), way: overBridge}
	if !a.guest && rev.Function.Form == faas.Native && os.Geteuid() == 0 {
		a.way = throughNamespace
	}
	if a.imported() {
		if _, err := rev.Argv(); err != nil {
			return nil, err
		}
	}
	switch {
	case rev.Function.Form == faas.Artefact:
		a.gateway, err = d.engine.gateway(ctx)
	case a.way == overBridge:
		err = d.network.ensure(ctx)
	}
	if err != nil {
		return nil, err
	}
	return a, d.restore(ctx, a)
}

// restore gets the artifact's image into Docker's store, where it may never
// have been or may have been pruned.
func (d *Driver) restore(ctx context.Context, a *artifact) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	image, err := d.images.ensure(ctx, a.rev)
	if err != nil {
		return err
	}
	a.image = image.ID
	if !a.imported() && image.Config != nil {
		a.volumes = slices.Sorted(maps.Keys(image.Config.Volumes))
	}
	return nil
}

// current returns what Docker knows the image by.
func (a *artifact) current() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.image
}

// hostKernel are the programs of runtimes whose containers run on the host's
// kernel.
var hostKernel = []string{"runc", "crun", "youki", "nvidia-container-runtime", "docker-runc"}

// hasGuestKernel reports whether fn's runtime brings a kernel, and so a network
// stack, of its own: what runs in it does not listen in the container's
// network namespace.
func (i *engineInfo) hasGuestKernel(fn *faas.Function) bool {
	name := fn.Runtime
	if name == "" {
		name = i.DefaultRuntime
	}
	runtime := i.Runtimes[name]
	if strings.HasPrefix(runtime.Type, "io.containerd.runc.") || strings.HasPrefix(name, "io.containerd.runc.") {
		return false
	}
	program := name
	if runtime.Path != "" {
		program = filepath.Base(runtime.Path)
	}
	return !slices.Contains(hostKernel, program)
}

// gateway returns the address of the machine on Docker's default bridge.
func (e *engine) gateway(ctx context.Context) (netip.Addr, error) {
	r, err := e.NetworkInspect(ctx, network.NetworkBridge, client.NetworkInspectOptions{})
	if err != nil {
		return netip.Addr{}, err
	}
	for _, c := range r.Network.IPAM.Config {
		switch {
		case c.Gateway.Is4():
			return c.Gateway, nil
		case c.Subnet.Addr().Is4():
			// An Engine that has just made its bridge does not say; it takes
			// the first address.
			return c.Subnet.Masked().Addr().Next(), nil
		}
	}
	return netip.Addr{}, faas.Errorf(faas.KindUnavailable, "Docker's default bridge has no IPv4 address; see bip in /etc/docker/daemon.json")
}
