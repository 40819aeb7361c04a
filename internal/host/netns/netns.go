// Package netns opens connections from inside other network namespaces. It
// makes no namespace and knows nothing of who lives in one.
package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
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
	f, err := h.Socket()
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return Connect(ctx, f, port)
}

// Socket makes a TCP socket inside the namespace, for [Connect]. It is the
// caller's to close.
func (h *Handle) Socket() (*os.File, error) {
	fd, err := h.socket()
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "tcp"), nil // non-blocking, so it waits without a thread
}

// Connect connects a TCP socket of any namespace to a port of its loopback
// address 127.0.0.1. f is non-blocking, and stays the caller's to close: the
// connection is a duplicate of it.
func Connect(ctx context.Context, f *os.File, port uint16) (net.Conn, error) {
	if err := connect(ctx, f, port); err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)}, Err: err}
	}
	return net.FileConn(f)
}

// socket makes a socket inside the namespace: it belongs to the one that its
// maker's thread is in.
func (h *Handle) socket() (int, error) {
	type result struct {
		fd  int
		err error
	}
	made := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			made <- result{-1, err}
			return
		}
		defer func() { _ = home.Close() }()
		r := result{fd: -1}
		if r.err = h.enter(); r.err == nil {
			r.fd, r.err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		}
		// A thread that can't go home stays locked and ends with this goroutine.
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		made <- r
	}()
	r := <-made
	if r.err != nil {
		return -1, fmt.Errorf("make socket in network namespace: %w", r.err)
	}
	return r.fd, nil
}

// enter moves the calling thread into the namespace. A handle that is closed
// meanwhile is closed after, or it is an error: never is another file's
// descriptor taken for it.
func (h *Handle) enter() error {
	raw, err := h.file.SyscallConn()
	if err != nil {
		return err
	}
	var entered error
	err = raw.Control(func(fd uintptr) { entered = unix.Setns(int(fd), unix.CLONE_NEWNET) })
	return errors.Join(err, entered)
}

// connect waits on Go's poller until the connection stands or ctx is done.
func connect(ctx context.Context, f *os.File, port uint16) error {
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
			result = unix.Connect(int(fd), &unix.SockaddrInet4{Port: int(port), Addr: [4]byte{127, 0, 0, 1}})
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
