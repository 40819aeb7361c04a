package docker

import (
	"context"
	"net"
	"net/netip"

	"github.com/unifaas/unifaas/internal/faas"
)

// Dial opens a connection to the function's port.
func (i *instance) Dial(ctx context.Context) (net.Conn, error) {
	if i.hasEnded() {
		return nil, faas.Errorf(faas.KindBroken, "instance %q has ended: %s", i.id, i.exit)
	}
	conn, err := i.connect(ctx)
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

func (i *instance) connect(ctx context.Context) (net.Conn, error) {
	switch {
	case i.netns != nil:
		return i.netns.Dial(ctx, i.port)
	case i.addr.IsValid():
		return i.connectOverBridge(ctx)
	default:
		return nil, faas.Errorf(faas.KindBroken, "its container has no address")
	}
}

func (i *instance) connectOverBridge(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(i.addr, i.port).String())
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		i.conns.add(tcp)
	}
	return conn, nil
}
