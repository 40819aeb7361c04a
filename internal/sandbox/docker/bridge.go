package docker

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/unifaas/unifaas/internal/faas"
)

// A bridge is the bridge of a platform's own, for containers that can't be
// reached through their network namespace: it leads to no other network, and
// its containers don't reach each other. Its methods may be called
// concurrently.
type bridge struct {
	engine *engine
	node   string

	mu sync.Mutex
}

// name is the network's in Docker.
func (b *bridge) name() string { return "unifaas-" + b.node }

// device is the bridge's; a name may have 15 characters.
func (b *bridge) device() string { return "uf-" + b.node }

// ensure makes the network if it is not there.
func (b *bridge) ensure(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, err := b.engine.NetworkInspect(ctx, b.name(), client.NetworkInspectOptions{})
	if errdefs.IsNotFound(err) {
		_, err = b.engine.NetworkCreate(ctx, b.name(), client.NetworkCreateOptions{
			Driver: "bridge", Internal: true,
			Options: map[string]string{
				"com.docker.network.bridge.name":       b.device(),
				"com.docker.network.bridge.enable_icc": "false",
			},
			Labels: map[string]string{nodeLabel: b.node},
		})
		if errdefs.IsConflict(err) {
			err = nil // another process of the node was quicker
		}
	}
	if err != nil {
		return err
	}
	if _, err := net.InterfaceByName(b.device()); err != nil {
		return faas.Errorf(faas.KindUnavailable,
			"the Docker Engine's bridge %q is not on this machine, or in another network namespace; only runtimes like runc can be used", b.device())
	}
	return b.shut()
}

// errInUse says that the network has endpoints.
var errInUse = errors.New("instances are on it")

// remove removes the network unless it is in use: by what a next run recovers.
func (b *bridge) remove(ctx context.Context) error {
	err := b.tryRemove(ctx)
	if errors.Is(err, errInUse) {
		return nil
	}
	return err
}

// removeAll removes the network once all instances are gone. Docker may be a
// moment behind, or keep the endpoint of a container that was killed on its way
// in and is no more. What is left after a while is in use.
func (b *bridge) removeAll(ctx context.Context) error {
	const pause, tries = 100 * time.Millisecond, 30
	for range tries {
		err := b.tryRemove(ctx)
		if !errors.Is(err, errInUse) {
			return err
		}
		if err := b.dropOrphans(ctx); err != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (b *bridge) tryRemove(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, err := b.engine.NetworkRemove(ctx, b.name(), client.NetworkRemoveOptions{})
	switch {
	case errdefs.IsNotFound(err), away(err):
		return nil
	case errdefs.IsPermissionDenied(err), errdefs.IsConflict(err):
		return errInUse
	case err != nil:
		return err
	}
	return b.open()
}

// dropOrphans takes endpoints off the network of which there is no container.
func (b *bridge) dropOrphans(ctx context.Context) error {
	n, err := b.engine.NetworkInspect(ctx, b.name(), client.NetworkInspectOptions{})
	if err != nil {
		return unlessGone(err)
	}
	for _, endpoint := range n.Network.Containers {
		_, err := b.engine.ContainerInspect(ctx, endpoint.Name, client.ContainerInspectOptions{})
		if !errdefs.IsNotFound(err) {
			continue
		}
		_, err = b.engine.NetworkDisconnect(ctx, b.name(), client.NetworkDisconnectOptions{Container: endpoint.Name, Force: true})
		if err = unlessGone(err); err != nil {
			return err
		}
	}
	return nil
}

// unlessGone is an error but for that of something that is not there, or of an
// Engine that is not.
func unlessGone(err error) error {
	if errdefs.IsNotFound(err) || away(err) {
		return nil
	}
	return err
}

// clear is remove, where there may well be no network: it asks only when the
// bridge is here.
func (b *bridge) clear(ctx context.Context) error {
	if _, err := net.InterfaceByName(b.device()); err == nil {
		return b.remove(ctx)
	}
	return nil
}
