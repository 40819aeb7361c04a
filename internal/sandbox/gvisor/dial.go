package gvisor

import (
	"context"
	"net"

	"github.com/unifaas/unifaas/internal/faas"
)

// Dial opens a connection to the function's port.
func (i *instance) Dial(ctx context.Context) (net.Conn, error) {
	return i.dial(ctx, false)
}

// dial opens a connection, or waits until the function listens.
func (i *instance) dial(ctx context.Context, wait bool) (net.Conn, error) {
	if i.hasEnded() {
		return nil, faas.Errorf(faas.KindBroken, "instance %q has ended: %s", i.id, i.exit)
	}
	var conn net.Conn
	var err error
	if i.driver.options.HostNetwork {
		conn, err = i.netns.Dial(ctx, i.port)
	} else {
		conn, err = i.tunnel.dial(ctx, tunnelRequest{i.port, wait})
	}
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case i.hasEnded():
		return nil, faas.Errorf(faas.KindBroken, "instance %q has ended: %s", i.id, i.exit)
	default:
		return nil, faas.Errorf(faas.KindBroken, "connect to port %d of instance %q: %w", i.port, i.id, err)
	}
}

func (i *instance) hasEnded() bool {
	select {
	case <-i.done:
		return true
	default:
		return false
	}
}
