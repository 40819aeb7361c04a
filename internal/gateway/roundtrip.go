package gateway

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// A roundTrip sends a request that is whole and waits for the response's
// first bytes with the fewest system calls: the read that finds the socket
// empty, which any wait begins with, is made before the request is written.
// So it costs nothing to learn that a kept connection is still open and has
// nothing to say.
//
// It works because net's descriptors are non-blocking and because the poller
// is armed once, before that read: what comes after it wakes the wait.
type roundTrip struct {
	request []byte
	buf     []byte
	asked   bool // the request was written, or as much of it as went
	wrote   int
	read    int
	err     error
}

// errNotQuiet is returned when the connection is closed or speaks unasked,
// before anything was written.
var errNotQuiet = errors.New("the connection is closed or has unread data")

// ask writes request to u and reads the answer's beginning into buf. wrote
// may be short without an error: the socket is full, nothing was read.
func (u *upConn) ask(request, buf []byte) (wrote, read int, err error) {
	u.trip = roundTrip{request: request, buf: buf}
	t := &u.trip
	err = u.raw.Read(u.step)
	if t.err != nil {
		err = t.err
	}
	t.request, t.buf = nil, nil
	return t.wrote, t.read, err
}

// next is called by the poller: at once, and whenever u may be readable. It
// returns whether it is done.
func (u *upConn) next(fd uintptr) bool {
	t := &u.trip
	n, errno := readOnce(fd, t.buf)
	if !t.asked {
		if errno != unix.EAGAIN {
			t.err = errNotQuiet
			return true
		}
		return !t.write(fd)
	}
	switch {
	case errno == unix.EAGAIN:
		return false
	case errno != 0:
		t.err = errno
	case n == 0:
		t.err = io.EOF
	}
	t.read = n
	return true
}

// write reports whether all of the request was written.
func (t *roundTrip) write(fd uintptr) bool {
	t.asked = true
	n, errno := writeOnce(fd, t.request)
	t.wrote = n
	if errno != 0 && errno != unix.EAGAIN {
		t.err = errno
	}
	return t.wrote == len(t.request)
}
