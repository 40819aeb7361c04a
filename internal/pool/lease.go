package pool

import (
	"context"
	"io"
	"net"
	"sync/atomic"

	"github.com/unifaas/unifaas/internal/sandbox"
)

// A Lease is the right to send one request to an instance. Its methods may be
// called concurrently. Whoever holds it calls Release exactly once.
type Lease struct {
	pool     *Pool
	instance *instance
	cold     bool
	released atomic.Bool
}

// Instance returns the instance that serves the request. The pool owns it:
// don't stop it.
func (l *Lease) Instance() sandbox.Instance { return l.instance.sandbox }

// Dial opens a connection to the function. ctx bounds the dial only; the
// connection is the caller's to close.
func (l *Lease) Dial(ctx context.Context) (net.Conn, error) {
	return l.instance.sandbox.Dial(ctx)
}

// Cold reports whether the request had to wait for an instance to start.
func (l *Lease) Cold() bool { return l.cold }

// Attachment returns the value that was attached to the instance, nil when
// there is none or the instance is gone.
func (l *Lease) Attachment() io.Closer { return l.instance.attached() }

// SetAttachment attaches c to the instance, for all of its leases, unless
// something is attached already, and returns what is attached then. The pool
// closes it when the instance goes, or at once when it is gone already. If c
// is not what is returned, it remains the caller's.
func (l *Lease) SetAttachment(c io.Closer) io.Closer { return l.instance.attach(c) }

// Release gives the instance back; the lease must not be used afterwards.
// healthy tells whether the instance did its part: if it broke this request
// it gets no new ones and is stopped once its others are done. A second call
// does nothing. It never blocks on the instance.
func (l *Lease) Release(healthy bool) {
	if l.released.Swap(true) {
		return
	}
	g := l.instance.group
	g.mu.Lock()
	fx := g.release(l.instance, healthy)
	g.mu.Unlock()
	l.pool.apply(g, fx)
}
