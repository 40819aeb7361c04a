package gateway

import (
	"errors"

	"golang.org/x/sys/unix"
)

// A task is what goes on with a parked socket. Exactly one of ready and ended
// is called, once, unless the socket is closed or unparked before.
type task interface {
	// ready is called by the loop l when the socket may be read. It must not
	// block.
	ready(l *loop)
	// ended is called when the reading deadline has passed, by whoever set it,
	// with locks held: it must not do more than begin a goroutine.
	ended()
	// struck is called by the loop when ready has panicked. It must not block.
	struck(fault any)
}

// park leaves s to the loop, which goes on with t: from then on the caller must
// not touch what t uses. It reports false when there is something to be read
// already, or the deadline has passed.
func (s *sock) park(t task) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in.ready || s.in.past || s.closed {
		return false
	}
	s.task = t
	return true
}

// unpark takes a parked socket back. It reports false when it was not parked
// any more: the loop is at it, or was.
func (s *sock) unpark() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	parked := s.task != nil
	s.task = nil
	return parked
}

// unparkPast returns the task that a deadline has ended. s.mu is held.
func (s *sock) unparkPast() task {
	if !s.in.past {
		return nil
	}
	t := s.task
	s.task = nil
	return t
}

// event is told what epoll says. It returns the task that is to go on now, if
// there is one, and whether goroutines were woken.
func (s *sock) event(flags uint32) (t task, woken bool) {
	const over = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	s.mu.Lock()
	defer s.mu.Unlock()
	if flags&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		s.out.ready = true
	}
	if flags&(unix.EPOLLIN|over) != 0 {
		// The end that comes along with data makes no edge of its own.
		s.over = s.over || flags&over != 0
		t, s.task = s.task, nil
		s.in.ready = t == nil || s.over
	}
	if s.waiting > 0 {
		s.changed.Broadcast()
	}
	return t, s.waiting > 0
}

// errNothing is returned by receive when there is nothing to be read.
var errNothing = errors.New("nothing to be read")

// again makes ready for a receive that no event has led to.
func (s *sock) again() {
	s.mu.Lock()
	s.in.ready = s.over
	s.mu.Unlock()
}

// receive reads once, without waiting. It is for a task, to which s belongs
// alone. n is 0 at the connection's end, too.
func (s *sock) receive(b []byte) (n int, err error) {
	n, errno := readOnce(uintptr(s.fd), b)
	switch {
	case errno == unix.EAGAIN:
		return 0, errNothing
	case errno != 0:
		return 0, errno
	case n == len(b): // there may be more, of which no event tells
		s.mu.Lock()
		s.in.ready = true
		s.mu.Unlock()
	}
	return n, nil
}

// quiet reports whether s is open and has nothing to be read.
func (s *sock) quiet() bool {
	var b [1]byte
	_, _, err := unix.Recvfrom(s.fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return err == unix.EAGAIN
}
