package gvisor

import (
	"context"
	"net"
	"os"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/boot"

	"github.com/unifaas/unifaas/internal/faas"
)

// portForward is the argument of gVisor's PortForward call; the file beside it
// is one end of a socket pair, which the sandbox joins to a new connection to
// the port.
type portForward struct {
	ContainerID string
	Port        uint16
}

// Dial opens a connection to the function's port. Its half-close is not one:
// the sandbox takes CloseWrite as the end of both directions.
func (i *instance) Dial(ctx context.Context) (net.Conn, error) {
	if i.hasEnded() {
		return nil, i.dialError(ctx, nil)
	}
	if i.netns != nil {
		conn, err := i.netns.Dial(ctx, i.port)
		if err != nil {
			return nil, i.dialError(ctx, err)
		}
		return conn, nil
	}
	return i.forward(ctx)
}

func (i *instance) forward(ctx context.Context) (net.Conn, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "function"), pair[1]
	err = i.control.call(ctx, boot.ContMgrPortForward, portForward{i.id, i.port}, nil, theirs)
	_ = unix.Close(theirs)
	defer func() { _ = ours.Close() }()
	if err != nil {
		return nil, i.dialError(ctx, err)
	}
	return net.FileConn(ours)
}

func (i *instance) dialError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case i.hasEnded():
		return faas.Errorf(faas.KindBroken, "instance %q has ended: %s", i.id, i.exit)
	default:
		return faas.Errorf(faas.KindBroken, "connect to port %d of instance %q: %w", i.port, i.id, err)
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
