package gateway

import (
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// A sock is a connection whose reads and writes cost as little as can be; see
// transfer.go. One
// goroutine may read while another writes.
type sock struct {
	net.Conn
	raw     syscall.RawConn
	in, out operation
}

// An operation is one read or write in the making. do is given to the poller
// and made once: a method's value is allocated.
type operation struct {
	buf []byte
	n   int
	err error
	do  func(fd uintptr) bool
}

// newSock returns nc itself when it is not a socket that is known to fit.
func newSock(nc net.Conn) (net.Conn, syscall.RawConn) {
	var sc syscall.Conn
	switch c := nc.(type) {
	case *net.TCPConn:
		sc = c
	case *net.UnixConn:
		sc = c
	default:
		return nc, nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nc, nil
	}
	s := &sock{Conn: nc, raw: raw}
	s.in.do, s.out.do = s.in.read, s.out.write
	return s, raw
}

// Read is io.Reader's.
func (s *sock) Read(b []byte) (int, error) {
	s.in.buf, s.in.n, s.in.err = b, 0, nil
	err := s.raw.Read(s.in.do)
	s.in.buf = nil
	switch {
	case s.in.err != nil:
		return 0, s.in.err
	case err != nil:
		return 0, err
	case s.in.n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	return s.in.n, nil
}

// Write is io.Writer's.
func (s *sock) Write(b []byte) (int, error) {
	s.out.buf, s.out.n, s.out.err = b, 0, nil
	err := s.raw.Write(s.out.do)
	s.out.buf = nil
	if s.out.err != nil {
		err = s.out.err
	}
	return s.out.n, err
}

// CloseWrite ends the sending side.
func (s *sock) CloseWrite() error {
	return s.Conn.(interface{ CloseWrite() error }).CloseWrite() // newSock has seen to that
}

func (o *operation) read(fd uintptr) bool {
	n, errno := readOnce(fd, o.buf)
	if errno == unix.EAGAIN {
		return false
	}
	if o.n = n; errno != 0 {
		o.err = errno
	}
	return true
}

func (o *operation) write(fd uintptr) bool {
	for o.n < len(o.buf) {
		n, errno := writeOnce(fd, o.buf[o.n:])
		if errno == unix.EAGAIN {
			return false
		}
		if errno != 0 {
			o.err = errno
			return true
		}
		o.n += n
	}
	return true
}
