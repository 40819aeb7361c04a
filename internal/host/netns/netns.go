// Package netns makes network namespaces, and works inside them: it starts
// processes, opens connections and listens there. It knows nothing of who lives
// in one.
package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

var past = time.Unix(1, 0)

// A Handle holds a network namespace open. Its methods may be called
// concurrently.
type Handle struct{ file *os.File }

// OfProcess opens the network namespace of a process. Root's privileges over
// the namespace are needed to dial through it.
func OfProcess(pid int) (*Handle, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, err
	}
	return &Handle{f}, nil
}

// Close closes the handle; connections live on. A nil handle is closed.
func (h *Handle) Close() {
	if h != nil {
		_ = h.file.Close()
	}
}

// Dial connects to a TCP port of the namespace's loopback address 127.0.0.1.
func (h *Handle) Dial(ctx context.Context, port uint16) (net.Conn, error) {
	return h.DialTo(ctx, loopback(port))
}

func loopback(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

// DialTo connects by TCP from inside the namespace. The address is of version 4.
func (h *Handle) DialTo(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	f, err := h.Socket()
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return connectTo(ctx, f, to)
}

// Listen listens for TCP connections inside the namespace. The address is of
// version 4 and must be one of the namespace's; port 0 picks one.
func (h *Handle) Listen(at netip.AddrPort) (net.Listener, error) {
	f, err := h.Socket()
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if err := listen(f, at); err != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: net.TCPAddrFromAddrPort(at), Err: err}
	}
	return net.FileListener(f)
}

func listen(f *os.File, at netip.AddrPort) error {
	to, err := address(at)
	if err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Control(func(fd uintptr) {
		// A listener of before may have left connections in TIME-WAIT.
		if result = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); result != nil {
			return
		}
		if result = unix.Bind(int(fd), to); result == nil {
			result = unix.Listen(int(fd), unix.SOMAXCONN)
		}
	})
	return errors.Join(err, result)
}

// Start starts a command inside the namespace.
func (h *Handle) Start(cmd *exec.Cmd) error { return h.Do(cmd.Start) }

// Socket makes a TCP socket inside the namespace, for [Connect]. It is the
// caller's to close.
func (h *Handle) Socket() (*os.File, error) {
	fd := -1
	err := h.Do(func() (err error) {
		// It belongs to the namespace that its maker's thread is in.
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make socket in network namespace: %w", err)
	}
	return os.NewFile(uintptr(fd), "tcp"), nil // non-blocking, so it waits without a thread
}

// Connect connects a TCP socket of any namespace to a port of its loopback
// address 127.0.0.1. f is non-blocking, and stays the caller's to close: the
// connection is a duplicate of it.
func Connect(ctx context.Context, f *os.File, port uint16) (net.Conn, error) {
	return connectTo(ctx, f, loopback(port))
}

func connectTo(ctx context.Context, f *os.File, to netip.AddrPort) (net.Conn, error) {
	if err := connect(ctx, f, to); err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	return net.FileConn(f)
}

func address(a netip.AddrPort) (*unix.SockaddrInet4, error) {
	if !a.Addr().Is4() {
		return nil, fmt.Errorf("%v is no address of version 4", a.Addr())
	}
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, nil
}

// connect waits on Go's poller until the connection stands or ctx is done.
func connect(ctx context.Context, f *os.File, to netip.AddrPort) error {
	remote, err := address(to)
	if err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetDeadline(past) })
	defer stop()
	started := false
	var result error
	err = raw.Write(func(fd uintptr) bool {
		if !started {
			started = true
			result = unix.Connect(int(fd), remote)
			return !errors.Is(result, unix.EINPROGRESS)
		}
		var code int
		if code, result = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); result == nil && code != 0 {
			result = unix.Errno(code)
		}
		if result != nil {
			return true
		}
		// A socket that was watched before it connects has woken the poller
		// for nothing: no error is not yet a connection.
		_, err := unix.Getpeername(int(fd))
		return !errors.Is(err, unix.ENOTCONN)
	})
	if err == nil {
		err = result
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
