package gateway

import (
	"errors"

	"golang.org/x/sys/unix"
)

// A trip is what became of a request that was written as a whole.
type trip struct {
	wrote int // may be short without an error: the socket is full, nothing was read
	read  int // bytes of the answer's beginning
	err   error
}

// errNotQuiet is a trip's when the connection is closed or speaks unasked,
// before anything was written.
var errNotQuiet = errors.New("the connection is closed or has unread data")

// ask writes request and waits for the beginning of the answer, which goes to
// buf. The read that finds the socket empty, which any wait begins with, is
// made before the request is written: so it costs nothing to learn that a kept
// connection is still open and has nothing to say.
func (s *sock) ask(request, buf []byte) (t trip) {
	if !s.empty(buf) {
		t.err = errNotQuiet
		return t
	}
	n, errno := writeOnce(uintptr(s.fd), request)
	t.wrote = n
	if errno != 0 && errno != unix.EAGAIN {
		t.err = errno
	}
	if t.wrote == len(request) {
		t.read, t.err = s.Read(buf)
	}
	return t
}

// empty reports whether s is open and has nothing to be read; what it has goes
// to buf and is lost. It is for who has s alone.
func (s *sock) empty(buf []byte) bool {
	s.again()
	_, errno := readOnce(uintptr(s.fd), buf)
	return errno == unix.EAGAIN
}
