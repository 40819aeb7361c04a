package gateway

import (
	"errors"
	"io"
	"syscall"

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
	n, err := readNow(int(fd), t.buf)
	if !t.asked {
		if err != unix.EAGAIN {
			t.err = errNotQuiet
			return true
		}
		return !t.write(int(fd))
	}
	switch {
	case err == unix.EAGAIN:
		return false
	case err != nil:
		t.err = err
	case n == 0:
		t.err = io.EOF
	}
	t.read = max(n, 0)
	return true
}

// write reports whether all of the request was written.
func (t *roundTrip) write(fd int) bool {
	t.asked = true
	for {
		n, err := syscall.Write(fd, t.request)
		if err == unix.EINTR {
			continue
		}
		t.wrote = max(n, 0)
		if err != nil && err != unix.EAGAIN {
			t.err = err
		}
		return t.wrote == len(t.request)
	}
}

func readNow(fd int, buf []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, buf)
		if err != unix.EINTR {
			return n, err
		}
	}
}
