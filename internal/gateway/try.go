package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/http1"
)

// tryOn sends the request on up, or on a new connection when up is nil, and
// passes the response on. It leaves the connection in x.call for its caller.
func (x *exchange) tryOn(up *upConn) error {
	x.hangUp()
	if up == nil {
		var err error
		if up, err = x.dial(); err != nil {
			return err
		}
	}
	if !x.bind(up) {
		return errEnded
	}
	if whole := x.whole(); !whole || up.sock == nil {
		if err := x.send(x.s.request, whole); err != nil {
			return err
		}
		return x.respond()
	}
	x.call.trip = up.sock.ask(x.s.request, x.call.from.buf)
	return x.asked()
}

// bind makes up the call's connection. It reports false when the exchange has
// been ended.
func (x *exchange) bind(up *upConn) bool {
	g := x.c.g
	c := &x.call
	c.up = up
	last := &x.c.watch.last
	c.from = stream{conn: up.link, buf: x.s.read, clock: &g.tick, last: last}
	c.to = sink{conn: up.link, chunk: x.req.Body == http1.Chunked, clock: &g.tick, last: last}
	x.setLimits()
	return x.c.watch.attach(up.link, g.tick.Load(), &x.limits, x.whole())
}

// asked goes on after a request that is whole was written, as c.trip says.
func (x *exchange) asked() error {
	c := &x.call
	n, err := c.trip.wrote, c.trip.err
	c.sent = c.sent || n > 0
	switch {
	case errors.Is(err, errNotQuiet):
		return x.broken("closed the connection, or spoke before it was asked", err)
	case c.trip.read > 0:
		x.heard()
		return x.respond()
	case n == 0 && err != nil && !timedOut(err):
		c.stale = c.up.reused
		return x.broken("closed the connection before it got the request", errors.Join(errSendTwice, err))
	case err != nil:
		return x.noHead(err)
	}
	if err := x.send(x.s.request[n:], true); err != nil {
		return err
	}
	return x.respond()
}

// heard has c.from begin with what c.trip has read.
func (x *exchange) heard() {
	c := &x.call
	c.from.r, c.from.w, c.heard = 0, c.trip.read, true
	c.from.last.Store(c.from.clock.Load())
}

// errEnded stands for the cause that the watch has.
var errEnded = errors.New("the exchange was ended")

func (x *exchange) setLimits() {
	t := &x.rev.Function.Timeout
	x.limits.first, x.limits.idle, x.limits.total = ticks(t.FirstByte), ticks(t.Idle), ticks(t.Total)
}

// ticks adds what the sweeper's clock may be behind: no timeout comes early.
func ticks(d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return int64(d + sweepEvery)
}

// dial opens a connection to the instance; the client's going away ends it.
func (x *exchange) dial() (*upConn, error) {
	g := x.c.g
	ctx, cancel := context.WithTimeout(g.base, g.opts.DialTimeout)
	defer cancel()
	x.c.watch.queue(cancel)
	nc, err := x.call.lease.Dial(ctx)
	x.c.watch.queue(nil)
	switch {
	case err == nil:
		return x.call.conns.open(nc, x.c.loop()), nil
	case exhausted(err):
		g.pressed.Store(true)
		return nil, &faas.Error{
			Kind: faas.KindUnavailable, RetryAfter: time.Second, Err: err,
			Message: "the platform has run out of open files; raise its limit if this stays",
		}
	}
	return nil, x.broken("does not accept connections", err)
}

// broken says what the function did to the connection.
func (x *exchange) broken(what string, err error) error {
	return &faas.Error{
		Kind: faas.KindBroken, Err: err,
		Message: fmt.Sprintf("function %q %s", x.rev.Function.Ref, what),
	}
}

// send writes the head with what is there of the body, and has the rest of
// the body pumped.
func (x *exchange) send(head []byte, whole bool) error {
	c := &x.call
	c.to.buf = head
	err := c.to.flush()
	c.sent = c.sent || c.to.any
	if err != nil && !c.sent {
		c.stale = c.up.reused
		return x.broken("closed the connection before it got the request", errors.Join(errSendTwice, err))
	}
	// A write that failed half-way is followed by reading all the same: the
	// function may have answered before it closed.
	if !whole {
		c.to.buf = make([]byte, 0, writeBuffer)
		x.startPump()
	}
	return nil
}
