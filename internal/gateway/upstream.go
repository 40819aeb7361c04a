package gateway

import (
	"net"
	"slices"
	"sync"

	"github.com/unifaas/unifaas/internal/sandbox"
)

// maxIdlePerInstance bounds the connections kept to one instance, whatever its
// concurrency.
const maxIdlePerInstance = 256

// An upConn is a connection to an instance.
type upConn struct {
	link
	sock   *sock      // what link is; nil when no loop looks after it
	list   *idleConns // where it is kept
	brief  bool       // is not kept
	reused bool
	since  int64 // tick when it became idle
}

// newUpConn has l look after nc where it can.
func (g *Gateway) newUpConn(nc net.Conn, l *loop) *upConn {
	if _, tended := nc.(sandbox.TendedConn); tended { // nor can it be told whether that is quiet
		return &upConn{link: nc, brief: true}
	}
	raw, ok := plain(nc)
	if !ok {
		return &upConn{link: nc}
	}
	s, err := l.adopt(raw, nc)
	if err != nil { // without a loop it can't be told whether it is quiet
		if exhausted(err) {
			g.pressed.Store(true)
		}
		return &upConn{link: nc, brief: true}
	}
	return &upConn{link: s, sock: s}
}

// ready is task's: a kept connection is closed, or speaks without being asked
// and would answer the wrong request.
func (u *upConn) ready(*loop) {
	if u.list.remove(u) {
		_ = u.Close()
	}
}

// ended is task's. Kept connections have no deadline.
func (u *upConn) ended() {}

// struck is task's.
func (u *upConn) struck(any) { _ = u.Close() }

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

// take returns a connection that was kept, of l where there is one, or nil. It
// is open and quiet as far as its loop knows; with probe, as far as the kernel
// does.
func (i *idleConns) take(l *loop, probe bool) *upConn {
	oldest := i.g.tick.Load() - int64(i.g.opts.UpstreamIdle)
	for {
		u := i.pop(l)
		if u == nil {
			return nil
		}
		if u.since >= oldest && (u.sock == nil || u.sock.unpark() && (!probe || u.sock.quiet())) {
			u.reused = true
			return u
		}
		_ = u.Close()
	}
}

// pop takes out the last connection of l's, or else the last.
func (i *idleConns) pop(l *loop) *upConn {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.conns) == 0 {
		return nil
	}
	at := len(i.conns) - 1
	for n := at; n >= 0; n-- {
		if s := i.conns[n].sock; s != nil && s.loop == l {
			at = n
			break
		}
	}
	u := i.conns[at]
	i.conns = slices.Delete(i.conns, at, at+1)
	return u
}

// remove takes u out. It reports false when it was not there.
func (i *idleConns) remove(u *upConn) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	at := slices.Index(i.conns, u)
	if at >= 0 {
		i.conns = slices.Delete(i.conns, at, at+1)
	}
	return at >= 0
}

// put keeps u, or closes it when there are enough or it is not quiet.
func (i *idleConns) put(u *upConn) {
	u.since, u.list = i.g.tick.Load(), i
	i.mu.Lock()
	// Once it is parked, its loop may want to remove it.
	keep := !u.brief && !i.closed && len(i.conns) < i.limit && (u.sock == nil || u.sock.park(u))
	if keep {
		i.conns = append(i.conns, u)
	}
	i.mu.Unlock()
	if !keep {
		_ = u.Close()
	}
}

// drop closes those for which old is true.
func (i *idleConns) drop(old func(*upConn) bool) (left int) {
	i.mu.Lock()
	var gone []*upConn
	kept := i.conns[:0]
	for _, u := range i.conns {
		if old(u) {
			gone = append(gone, u)
		} else {
			kept = append(kept, u)
		}
	}
	clear(i.conns[len(kept):])
	i.conns = kept
	i.mu.Unlock()
	for _, u := range gone {
		_ = u.Close()
	}
	return len(kept)
}

// Close closes what is kept and keeps nothing more. The pool calls it when
// the instance goes.
func (i *idleConns) Close() error {
	i.mu.Lock()
	i.closed = true
	i.mu.Unlock()
	i.drop(func(*upConn) bool { return true })
	i.g.mu.Lock()
	delete(i.g.idles, i)
	i.g.mu.Unlock()
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
