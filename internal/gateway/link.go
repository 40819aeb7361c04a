package gateway

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A link is what the gateway needs of a connection: a [sock] where it can be,
// else whatever [net.Conn] it was given. One goroutine may read while another
// writes.
type link interface {
	io.ReadWriteCloser
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// plain returns nc's descriptor when nc is a socket of the kernel's and nothing
// else, which a loop can look after as well as Go's netpoller.
func plain(nc net.Conn) (syscall.RawConn, bool) {
	var sc syscall.Conn
	switch c := nc.(type) {
	case *net.TCPConn:
		sc = c
	case *net.UnixConn:
		sc = c
	default:
		return nil, false
	}
	raw, err := sc.SyscallConn()
	return raw, err == nil
}

// adopt takes the socket out of nc, whose descriptor is raw's, and of Go's
// netpoller: each event would wake that too. nc is closed. On error it is as it
// was.
func (l *loop) adopt(raw syscall.RawConn, nc net.Conn) (*sock, error) {
	s, err := l.duplicate(raw)
	if err == nil {
		_ = nc.Close()
	}
	return s, err
}

// duplicate looks after another descriptor of raw's socket.
func (l *loop) duplicate(raw syscall.RawConn) (*sock, error) {
	fd := -1
	var err error
	controlErr := raw.Control(func(of uintptr) {
		// Not by (*net.TCPConn).File, which makes the socket block.
		fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0)
	})
	if controlErr != nil {
		return nil, controlErr
	}
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	s := newSock(l, fd)
	if err := l.add(s); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return s, nil
}

func closeWrite(c link) bool {
	w, ok := c.(interface{ CloseWrite() error })
	return ok && w.CloseWrite() == nil
}
