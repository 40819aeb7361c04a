package gateway

import (
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxIdlePerInstance bounds the connections kept to one instance, whatever its
// concurrency.
const maxIdlePerInstance = 256

// An upConn is a connection to an instance.
type upConn struct {
	net.Conn
	raw    syscall.RawConn // nil when the connection has none
	probe  func(fd uintptr) bool
	step   func(fd uintptr) bool
	trip   roundTrip
	quiet  bool
	reused bool
	since  int64 // tick when it became idle
}

func newUpConn(nc net.Conn) *upConn {
	u := &upConn{}
	u.Conn, u.raw = newSock(nc)
	u.probe, u.step = u.peek, u.next // once: a method's value is allocated
	return u
}

// alive reports whether an idle connection is open and has nothing to say: a
// function that speaks without being asked would answer the wrong request.
func (u *upConn) alive() bool {
	if u.raw == nil {
		return true // it can't be told; a request that fails on it is looked at then
	}
	u.quiet = false
	return u.raw.Read(u.probe) == nil && u.quiet
}

func (u *upConn) peek(fd uintptr) bool {
	var b [1]byte
	_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	u.quiet = err == unix.EAGAIN
	return true
}

// idleConns are the kept connections of one instance, attached to it through
// its leases and closed by the pool when it goes.
type idleConns struct {
	g      *Gateway
	mu     sync.Mutex
	conns  []*upConn // the last one used is the last
	limit  int
	closed bool
}

// idleOf returns the list of lease's instance.
func (g *Gateway) idleOf(lease Lease, concurrency int) *idleConns {
	if l, ok := lease.Attachment().(*idleConns); ok {
		return l
	}
	l := &idleConns{g: g, limit: min(max(concurrency, 1), maxIdlePerInstance)}
	// Listed first: whoever closes l, and that may be SetAttachment on an
	// instance that is gone, takes it out again.
	g.mu.Lock()
	g.idles[l] = struct{}{}
	g.mu.Unlock()
	placed, ok := lease.SetAttachment(l).(*idleConns)
	if placed != l {
		_ = l.Close()
	}
	if !ok {
		return l // the place is taken: nothing is kept
	}
	return placed
}

// take returns a connection that was kept, or nil. Unless it will be asked
// with [upConn.ask], which finds out by itself, probe has it checked for
// being able to carry a request.
func (l *idleConns) take(probe bool) *upConn {
	oldest := l.g.tick.Load() - int64(l.g.opts.UpstreamIdle)
	for {
		l.mu.Lock()
		n := len(l.conns) - 1
		if n < 0 {
			l.mu.Unlock()
			return nil
		}
		u := l.conns[n]
		l.conns[n] = nil
		l.conns = l.conns[:n]
		l.mu.Unlock()
		if u.since >= oldest && (!probe && u.raw != nil || u.alive()) {
			u.reused = true
			return u
		}
		_ = u.Close()
	}
}

// put keeps u, or closes it when there are enough.
func (l *idleConns) put(u *upConn) {
	u.since = l.g.tick.Load()
	l.mu.Lock()
	keep := !l.closed && len(l.conns) < l.limit
	if keep {
		l.conns = append(l.conns, u)
	}
	l.mu.Unlock()
	if !keep {
		_ = u.Close()
	}
}

// drop closes those for which old is true.
func (l *idleConns) drop(old func(*upConn) bool) (left int) {
	l.mu.Lock()
	var gone []*upConn
	kept := l.conns[:0]
	for _, u := range l.conns {
		if old(u) {
			gone = append(gone, u)
		} else {
			kept = append(kept, u)
		}
	}
	clear(l.conns[len(kept):])
	l.conns = kept
	l.mu.Unlock()
	for _, u := range gone {
		_ = u.Close()
	}
	return len(kept)
}

// Close closes what is kept and keeps nothing more. The pool calls it when
// the instance goes.
func (l *idleConns) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.drop(func(*upConn) bool { return true })
	l.g.mu.Lock()
	delete(l.g.idles, l)
	l.g.mu.Unlock()
	return nil
}

// sweepIdle closes upstream connections that were idle too long. It reports
// whether some are left.
func (g *Gateway) sweepIdle() bool {
	oldest := g.tick.Load() - int64(g.opts.UpstreamIdle)
	left := 0
	g.mu.Lock()
	lists := make([]*idleConns, 0, len(g.idles))
	for l := range g.idles {
		lists = append(lists, l)
	}
	g.mu.Unlock()
	for _, l := range lists {
		left += l.drop(func(u *upConn) bool { return u.since < oldest })
	}
	return left > 0
}
