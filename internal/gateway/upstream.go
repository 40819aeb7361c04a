package gateway

import (
	"net"
	"slices"
	"sync"
)

// maxIdlePerInstance bounds the connections kept to one instance, whatever its
// concurrency.
const maxIdlePerInstance = 256

// An upConn is a connection to an instance.
type upConn struct {
	link
	sock   *sock    // what link is; nil when no loop looks after it
	list   *upConns // where it is listed or kept
	brief  bool     // is not kept
	reused bool
	since  int64 // tick when it became idle
}

// Close is io.Closer's.
func (u *upConn) Close() error {
	if u.list != nil {
		u.list.forget(u)
	}
	return u.link.Close()
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

// upConns are the connections to one instance, attached to it through its
// leases. The pool closes them when the instance goes.
type upConns struct {
	g      *Gateway
	mu     sync.Mutex
	kept   []*upConn            // those without a request; the last one used is the last
	looped map[*upConn]struct{} // those that a loop looks after, kept or not
	limit  int                  // of kept
	closed bool
}

// connsOf returns the connections to lease's instance.
func (g *Gateway) connsOf(lease Lease, concurrency int) *upConns {
	if l, ok := lease.Attachment().(*upConns); ok {
		return l
	}
	l := &upConns{g: g, limit: min(max(concurrency, 1), maxIdlePerInstance), looped: map[*upConn]struct{}{}}
	// Listed first: whoever closes l, and that may be SetAttachment on an
	// instance that is gone, takes it out again.
	g.mu.Lock()
	g.instances[l] = struct{}{}
	g.mu.Unlock()
	placed, ok := lease.SetAttachment(l).(*upConns)
	if placed == l {
		return l
	}
	_ = l.Close()
	if ok {
		return placed
	}
	return &upConns{g: g, looped: map[*upConn]struct{}{}} // the place is taken: nothing is kept
}

// open has l look after a new connection where it can. To an instance that is
// gone it is at its end at once.
func (i *upConns) open(nc net.Conn, l *loop) *upConn {
	raw, ok := plain(nc)
	if !ok {
		return &upConn{link: nc}
	}
	s, err := l.adopt(raw, nc)
	if err != nil { // without a loop it can't be told whether it is quiet
		if exhausted(err) {
			i.g.pressed.Store(true)
		}
		return &upConn{link: nc, brief: true}
	}
	u := &upConn{link: s, sock: s, list: i}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		s.end()
	} else {
		i.looped[u] = struct{}{}
	}
	return u
}

// forget is told that u is about to be closed.
func (i *upConns) forget(u *upConn) {
	i.mu.Lock()
	delete(i.looped, u)
	i.mu.Unlock()
}

// take returns a connection that was kept, of l where there is one, or nil. It
// is open and quiet as far as its loop knows; with probe, as far as the kernel
// does.
func (i *upConns) take(l *loop, probe bool) *upConn {
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
func (i *upConns) pop(l *loop) *upConn {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.kept) == 0 {
		return nil
	}
	at := len(i.kept) - 1
	for n := at; n >= 0; n-- {
		if s := i.kept[n].sock; s != nil && s.loop == l {
			at = n
			break
		}
	}
	u := i.kept[at]
	i.kept = slices.Delete(i.kept, at, at+1)
	return u
}

// remove takes u out. It reports false when it was not there.
func (i *upConns) remove(u *upConn) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	at := slices.Index(i.kept, u)
	if at >= 0 {
		i.kept = slices.Delete(i.kept, at, at+1)
	}
	return at >= 0
}

// put keeps u, or closes it when there are enough or it is not quiet.
func (i *upConns) put(u *upConn) {
	u.since, u.list = i.g.tick.Load(), i
	i.mu.Lock()
	// Once it is parked, its loop may want to remove it.
	keep := !u.brief && !i.closed && len(i.kept) < i.limit && (u.sock == nil || u.sock.park(u))
	if keep {
		i.kept = append(i.kept, u)
	}
	i.mu.Unlock()
	if !keep {
		_ = u.Close()
	}
}

// drop closes those for which old is true.
func (i *upConns) drop(old func(*upConn) bool) (left int) {
	i.mu.Lock()
	var gone []*upConn
	kept := i.kept[:0]
	for _, u := range i.kept {
		if old(u) {
			gone = append(gone, u)
		} else {
			kept = append(kept, u)
		}
	}
	clear(i.kept[len(kept):])
	i.kept = kept
	i.mu.Unlock()
	for _, u := range gone {
		_ = u.Close()
	}
	return len(kept)
}

// Close closes what is kept, keeps nothing more, and ends what is in use: an
// instance whose kernel is gone with it does not say so. What has arrived can
// still be read. The pool calls it when the instance goes.
func (i *upConns) Close() error {
	i.mu.Lock()
	i.closed = true
	i.mu.Unlock()
	i.drop(func(*upConn) bool { return true })
	i.mu.Lock()
	for u := range i.looped {
		u.sock.end()
	}
	i.mu.Unlock()
	i.g.mu.Lock()
	delete(i.g.instances, i)
	i.g.mu.Unlock()
	return nil
}

// sweepIdle closes upstream connections that were idle too long. It reports
// whether some are left.
func (g *Gateway) sweepIdle() bool {
	oldest := g.tick.Load() - int64(g.opts.UpstreamIdle)
	left := 0
	g.mu.Lock()
	lists := make([]*upConns, 0, len(g.instances))
	for l := range g.instances {
		lists = append(lists, l)
	}
	g.mu.Unlock()
	for _, l := range lists {
		left += l.drop(func(u *upConn) bool { return u.since < oldest })
	}
	return left > 0
}
