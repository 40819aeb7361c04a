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
	g := x.c.g
	c := &x.call
	c.up = up
	last := &x.c.watch.last
	c.from = stream{conn: up.Conn, buf: x.s.read, clock: &g.tick, last: last}
	c.to = sink{conn: up.Conn, chunk: x.req.Body == http1.Chunked, clock: &g.tick, last: last}
	x.setLimits()
	whole := x.in.done || x.held
	if !x.c.watch.attach(up.Conn, g.tick.Load(), &x.limits, whole) {
		return errEnded
	}
	var err error
	if whole && up.raw != nil {
		err = x.ask()
	} else {
		err = x.send(whole)
	}
	if err != nil {
		return err
	}
	return x.respond()
}

// ask sends a request that is whole and has c.from hold the beginning of the
// response.
func (x *exchange) ask() error {
	c := &x.call
	n, got, err := c.up.ask(x.s.request, c.from.buf)
	c.sent = c.sent || n > 0
	switch {
	case errors.Is(err, errNotQuiet):
		return x.broken("closed the connection, or spoke before it was asked", err)
	case got > 0:
		c.from.w, c.heard = got, true
		c.from.last.Store(c.from.clock.Load())
		return nil
	case n == 0 && err != nil && !timedOut(err):
		c.stale = c.up.reused
		return x.broken("closed the connection before it got the request", errors.Join(errSendTwice, err))
	case err != nil:
		return x.noHead(err)
	}
	return x.sendRest(x.s.request[n:], true)
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
		return newUpConn(nc), nil
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
func (x *exchange) send(whole bool) error {
	return x.sendRest(x.s.request, whole)
}

func (x *exchange) sendRest(head []byte, whole bool) error {
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
