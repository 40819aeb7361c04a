package gateway

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Connections are accepted here rather than by package net, which would have
// its netpoller look after them.

// listen has a loop look after the listener, where it is a plain one.
func (g *Gateway) listen() error {
	var sc syscall.Conn
	switch ln := g.ln.(type) {
	case *net.TCPListener:
		sc = ln
	case *net.UnixListener:
		sc = ln
	default:
		return nil
	}
	raw, err := sc.SyscallConn()
	if err == nil {
		_ = raw.Control(inherited)
		g.door, err = g.loops[0].duplicate(raw)
	}
	if err != nil {
		return fmt.Errorf("listen for invocations: %w", err)
	}
	return nil
}

// closeDoor refuses new connections from now on.
func (g *Gateway) closeDoor() error {
	if g.door != nil {
		_ = g.door.Close()
	}
	return g.ln.Close()
}

// Package net's settings of accepted connections, which they inherit from their
// listener. On one of another family these are errors and no harm.
func inherited(fd uintptr) {
	for _, o := range [...]struct{ level, name, value int }{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15}, // seconds
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9},
	} {
		_ = unix.SetsockoptInt(int(fd), o.level, o.name, o.value)
	}
}

// take accepts a connection. addr is the client's address without port.
func (a *acceptor) take() (nc link, addr string, err error) {
	if a.g.door == nil {
		return a.takeForeign()
	}
	fd := -1
	var from unix.Sockaddr
	_, err = once(a.g.door, &a.g.door.in, func(door uintptr, _ []byte) (int, syscall.Errno) {
		var errno syscall.Errno
		if fd, from, errno = acceptOnce(int(door)); errno != 0 {
			return 0, errno
		}
		return 1, 0
	}, nil, 1)
	if err != nil {
		return nil, "", os.NewSyscallError("accept4", err)
	}
	s := newSock(a.g.idlest(), fd)
	if err := s.loop.add(s); err != nil {
		_ = unix.Close(fd)
		return nil, "", err
	}
	return s, addressOf(from), nil
}

// acceptOnce does not tell of connections that were closed before they were
// taken.
func acceptOnce(door int) (int, unix.Sockaddr, syscall.Errno) {
	for {
		fd, from, err := unix.Accept4(door, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch errno, failed := err.(syscall.Errno); { //nolint:errorlint // it is never wrapped
		case !failed:
			return fd, from, 0
		case errno != unix.EINTR && errno != unix.ECONNABORTED:
			return -1, nil, errno
		}
	}
}

// takeForeign accepts from a listener that may make anything.
func (a *acceptor) takeForeign() (link, string, error) {
	nc, err := a.g.ln.Accept()
	if err != nil {
		return nil, "", err
	}
	return nc, hostOf(nc.RemoteAddr()), nil
}

// addressOf has no port, and no zone, which means nothing elsewhere.
func addressOf(from unix.Sockaddr) string {
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(a.Addr).String()
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(a.Addr).Unmap().String()
	}
	return ""
}
