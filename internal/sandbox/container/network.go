package container

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/netns"
)

// A network makes TCP sockets inside an instance's network namespace.
type network interface {
	Socket() (*os.File, error)
	Close()
}

// served is the network of an instance whose first process hands out sockets: an
// ordinary user can't enter a network namespace, not even its own.
type served struct{ dir string }

func (i *instance) enterNetwork() error {
	if i.uids == 0 {
		i.setNetwork(served{i.dir})
		return nil
	}
	h, err := netns.OfProcess(i.process.Pid)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	i.setNetwork(h)
	return nil
}

// setNetwork closes the instance's network and puts another in its place.
func (i *instance) setNetwork(n network) {
	i.networkMu.Lock()
	defer i.networkMu.Unlock()
	if i.network != nil {
		i.network.Close()
	}
	i.network = n
}

// socket makes a TCP socket inside.
func (i *instance) socket() (*os.File, error) {
	i.networkMu.RLock()
	defer i.networkMu.RUnlock()
	if i.network == nil {
		return nil, errors.New("it has been stopped")
	}
	return i.network.Socket()
}

// Close does nothing: nothing is held.
func (served) Close() {}

// Socket asks the first process for one.
func (n served) Socket() (*os.File, error) {
	var conn *net.UnixConn
	err := inDir(n.dir, func(dir string) (err error) {
		conn, err = net.DialUnix("unixpacket", nil, &net.UnixAddr{Net: "unixpacket", Name: filepath.Join(dir, dialName)})
		return err
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	rights := make([]byte, unix.CmsgSpace(4))
	_, size, _, _, err := conn.ReadMsgUnix(make([]byte, 1), rights)
	if err != nil {
		return nil, fmt.Errorf("get a socket from inside: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:size])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(errors.New("get a socket from inside: none came"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.Join(errors.New("get a socket from inside: none came"), err)
	}
	unix.CloseOnExec(fds[0])
	return os.NewFile(uintptr(fds[0]), "tcp"), nil
}

// Dial opens a connection to the function's port.
func (i *instance) Dial(ctx context.Context) (net.Conn, error) {
	conn, err := i.dial(ctx)
	switch {
	case err == nil:
		return conn, nil
	case i.hasEnded():
		return nil, faas.Errorf(faas.KindBroken, "instance %q has ended: %s", i.id, i.exit)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	default:
		return nil, faas.Errorf(faas.KindBroken, "connect to port %d of instance %q: %w", i.port, i.id, err)
	}
}

func (i *instance) dial(ctx context.Context) (net.Conn, error) {
	if i.hasEnded() {
		return nil, errors.New("it has ended")
	}
	f, err := i.socket()
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return netns.Connect(ctx, f, i.port)
}
