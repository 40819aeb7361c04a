package gateway

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A sock is a connected, non-blocking stream socket that a [loop] looks after.
// To goroutines it is what a net.Conn is: one may read while another writes,
// any may set deadlines or close. While none of them uses it, it can be parked
// with a [task] that goes on in the loop; see park.go.
type sock struct {
	fd     int
	loop   *loop
	serial int32 // tells it from an earlier one with the same descriptor

	mu      sync.Mutex
	changed sync.Cond // for goroutines that wait until a side is ready
	waiting int       // how many do
	in, out side
	over    bool // the peer has closed: every read returns at once
	armed   bool // the loop is told of room for writing
	task    task // not nil while parked
	users   int  // system calls of goroutines on fd
	closed  bool
}

// A side is one of a socket's two directions.
type side struct {
	// ready is false when the last call found nothing more to be done and no
	// event came since. Events are edges: what they tell is remembered here.
	ready bool
	past  bool        // the deadline has passed
	timer *time.Timer // for a deadline to come
}

// newSock makes fd a sock of l, which is yet to be told by [loop.add].
func newSock(l *loop, fd int) *sock {
	s := &sock{fd: fd, loop: l, out: side{ready: true}}
	s.changed.L = &s.mu
	return s
}

// Read is io.Reader's.
func (s *sock) Read(b []byte) (int, error) {
	n, err := once(s, &s.in, readOnce, b, len(b))
	if err == nil && n == 0 && len(b) > 0 {
		err = io.EOF
	}
	return n, err
}

// Write is io.Writer's.
func (s *sock) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var wrote int
		wrote, err = once(s, &s.out, writeOnce, b[n:], len(b)-n)
		n += wrote
	}
	return n, err
}

// writeVec writes parts as one message and consumes them.
func (s *sock) writeVec(parts *net.Buffers) (n int64, err error) {
	for len(*parts) > 0 && err == nil {
		size := 0
		for _, part := range *parts {
			size += len(part)
		}
		var wrote int
		if size > 0 {
			wrote, err = once(s, &s.out, writeVecOnce, [][]byte(*parts), size)
		}
		n += int64(wrote)
		consume(parts, wrote)
	}
	return n, err
}

// consume drops the first n bytes of parts, and what is empty before the rest.
func consume(parts *net.Buffers, n int) {
	for len(*parts) > 0 {
		first := (*parts)[0]
		if n < len(first) {
			(*parts)[0] = first[n:]
			return
		}
		n -= len(first)
		*parts = (*parts)[1:]
	}
}

// once waits until d is ready and makes one call, for size bytes of b.
func once[B []byte | [][]byte](s *sock, d *side, call func(uintptr, B) (int, syscall.Errno), b B, size int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.await(d); err != nil {
			return 0, err
		}
		d.ready = d == &s.in && s.over // before the call: an event after it counts
		s.users++
		s.mu.Unlock()
		n, errno := call(uintptr(s.fd), b)
		s.mu.Lock()
		if s.users--; s.closed && s.users == 0 {
			s.release()
		}
		switch errno {
		case 0:
			// A short read has emptied the socket. Of a short write that need not
			// be so.
			d.ready = d.ready || n == size || d == &s.out
			return n, nil
		case unix.EAGAIN:
			if err := s.blocked(d); err != nil {
				return 0, err
			}
		default:
			return 0, errno
		}
	}
}

// await waits for d to be ready. s.mu is held.
func (s *sock) await(d *side) error {
	for {
		switch {
		case s.closed:
			return net.ErrClosed
		case d.past:
			return os.ErrDeadlineExceeded
		case d.ready:
			return nil
		}
		s.waiting++
		s.changed.Wait()
		s.waiting--
	}
}

// blocked is told that a call would have blocked. s.mu is held.
func (s *sock) blocked(d *side) error {
	if d == &s.in {
		s.over = false // it only seemed to be
		return nil
	}
	if s.armed {
		return nil
	}
	// Most sockets never get here, so they are not told of every bit of room.
	s.armed = true
	return s.loop.arm(s)
}

// CloseWrite ends the sending side.
func (s *sock) CloseWrite() error {
	return s.shielded(func() error { return unix.Shutdown(s.fd, unix.SHUT_WR) })
}

// resetOnClose has the peer learn that what it got is not all.
func (s *sock) resetOnClose() {
	_ = s.shielded(func() error {
		return unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
}

// end has every read come to its end, after what has arrived, and every write
// fail. The descriptor stays.
func (s *sock) end() {
	_ = s.shielded(func() error { return unix.Shutdown(s.fd, unix.SHUT_RDWR) })
}

// shielded runs do, which must be short, while the descriptor can't be closed.
func (s *sock) shielded(do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	return do()
}

// Close is io.Closer's. Calls that are under way return first; then the
// descriptor is given back.
func (s *sock) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.closed, s.task = true, nil
	s.in.stop()
	s.out.stop()
	s.changed.Broadcast()
	if s.users == 0 {
		s.release()
	}
	return nil
}

// release gives the descriptor back. Its place in the loop is given up before:
// then somebody else may get the number.
func (s *sock) release() {
	s.loop.remove(s)
	_ = unix.Close(s.fd)
}
