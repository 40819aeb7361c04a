package gateway

import (
	"context"
	"io"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/http1"
)

// What a loop does of a connection's life: the wait for a request, and the
// whole of an exchange that needs to wait for nothing but the answer: the
// request is whole, an instance is free and has a kept connection, and the
// answer comes at once and is small. Whatever is otherwise goes to a goroutine,
// in the state that it is in, and comes back when the exchange is over.

const (
	// maxTurns bounds the exchanges that follow each other without an event:
	// others wait meanwhile.
	maxTurns = 16
	// shortAnswer is how much of an answer, and shortBody how much of its body,
	// is copied to be written by the loop.
	shortAnswer = 8 << 10
	shortBody   = gatherMax
)

// goOn has a goroutine go on with c where the loop can't.
func (c *conn) goOn(l *loop, from stage) {
	if from != stageParked {
		l.yield = true
		go c.serve(from)
	}
}

// loop returns the loop that looks after c, or one that may look after its
// connection to an instance.
func (c *conn) loop() *loop {
	if c.sock != nil {
		return c.sock.loop
	}
	return c.g.idlest()
}

// park gives c, which is idle, to its loop. It reports false when there is
// something to be done.
func (c *conn) park() bool {
	if c.sock == nil || len(c.in.buffered()) > 0 {
		return false
	}
	c.watch.await(phaseIdle, c.g.tick.Load(), c.wait)
	return c.sock.park(c)
}

// ready is task's: the client has sent something, or closed.
func (c *conn) ready(l *loop) {
	c.turns = 0
	c.goOn(l, c.receive(l, false))
}

// ended is task's.
func (c *conn) ended() { go c.serve(stageHead) }

// struck is task's.
func (c *conn) struck(fault any) {
	c.report(fault)
	go func() {
		defer c.g.forget(c)
		c.mourn()
	}()
}

// receive reads what an idle client has sent. ahead tells that it may have come
// before the last answer.
func (c *conn) receive(l *loop, ahead bool) stage {
	n, err := c.sock.receive(c.in.buf)
	if n > 0 {
		c.in.w = n
		return c.begin(l, ahead)
	}
	if err == errNothing && c.sock.park(c) { //nolint:errorlint // it is never wrapped
		return stageParked
	}
	return stageHead
}

// begin begins an exchange if the buffer begins with a head.
func (c *conn) begin(l *loop, ahead bool) stage {
	data := c.in.buffered()
	if c.turns++; c.turns > maxTurns || data[0] == '\r' || c.g.logs() {
		return stageHead
	}
	end, err := http1.HeadEnd(data, 0)
	if err != nil || end == 0 || end > c.g.opts.MaxHead {
		return stageHead
	}
	c.head = end
	return c.x.begin(l, ahead)
}

// logs reports whether each exchange is logged, which may block.
func (g *Gateway) logs() bool {
	log := g.opts.AccessLog
	return log != nil && log.Enabled(context.Background(), slog.LevelDebug)
}

// begin sends the request whose head the connection's buffer begins with.
func (x *exchange) begin(l *loop, ahead bool) stage {
	x.open()
	if x.err = x.start(); x.err != nil {
		return stageFailed
	}
	if !x.whole() || !x.tryAcquire() {
		return stageBegun
	}
	c := &x.call
	if c.conns, _ = c.lease.Attachment().(*upConns); c.conns == nil {
		return stageLeased
	}
	up := c.conns.take(l, false)
	switch {
	case up == nil:
		return stageLeased
	case up.sock == nil:
		c.conns.put(up) // for the goroutine to find it
		return stageLeased
	}
	c.trip = trip{err: os.ErrDeadlineExceeded}
	if !x.bind(up) {
		return stageAsked
	}
	// The loop closes kept connections that speak or are closed, in the order in
	// which things happen. So before this request that would have been seen,
	// unless it came by another loop or before the connection was kept. What
	// can't be repeated is not sent on that alone.
	if (ahead || up.sock.loop != l || !x.idempotent) && !up.sock.empty(c.from.buf) {
		x.hangUp()
		return stageLeased
	}
	return x.ask(l)
}

// ask writes the request and waits for the answer.
func (x *exchange) ask(l *loop) stage {
	c := &x.call
	s := c.up.sock
	n, errno := writeOnce(uintptr(s.fd), x.s.request)
	c.trip = trip{wrote: n}
	if errno != 0 && errno != unix.EAGAIN {
		c.trip.err = errno
	}
	switch {
	case n < len(x.s.request):
		return stageAsked
	case s.park(x):
		return stageParked
	}
	s.again()
	return x.receive(l)
}

// ready is task's: the function has answered, or closed.
func (x *exchange) ready(l *loop) {
	x.c.turns = 0
	x.c.goOn(l, x.receive(l))
}

// ended is task's.
func (x *exchange) ended() {
	x.call.trip.err = os.ErrDeadlineExceeded
	go x.c.serve(stageAsked)
}

// struck is task's.
func (x *exchange) struck(fault any) { x.c.struck(fault) }

// receive reads the answer.
func (x *exchange) receive(l *loop) stage {
	c := &x.call
	s := c.up.sock
	n, err := s.receive(c.from.buf)
	switch {
	case n > 0:
		c.trip.read = n
		return x.answer(l)
	case err == errNothing: //nolint:errorlint // it is never wrapped
		if s.park(x) {
			return stageParked
		}
	case err == nil:
		c.trip.err = io.EOF
	default:
		c.trip.err = err
	}
	return stageAsked
}

// answer passes an answer on of which something has come, if it is whole.
func (x *exchange) answer(l *loop) stage {
	x.heard()
	whole, err := x.responseHead(0)
	if err != nil || !whole || x.resp.Status < 200 || !x.short() {
		return stageAsked
	}
	x.beginAnswer()
	if err := x.out.gather(&x.call.from, &x.to); err != nil || !x.out.done {
		panic("a short answer is not whole")
	}
	x.settle(x.in.done)
	return x.conclude(l)
}

// short reports whether the answer is here and small.
func (x *exchange) short() bool {
	body := int64(len(x.call.from.buffered()))
	return x.call.trip.read <= shortAnswer &&
		(x.resp.Body == http1.NoBody || x.resp.Body == http1.Sized && x.resp.Length <= min(body, shortBody))
}

// conclude writes the answer and ends the exchange.
func (x *exchange) conclude(l *loop) stage {
	c := x.c
	n, _ := writeOnce(uintptr(c.sock.fd), x.to.buf)
	if n < len(x.to.buf) {
		// The goroutine's write finds out why.
		x.to.wrote += int64(n)
		x.to.any = x.to.any || n > 0
		x.to.buf = x.to.buf[:copy(x.to.buf, x.to.buf[n:])]
		return stageSettled
	}
	_ = x.to.done(int64(n), nil)
	x.end(nil)
	if x.close || !x.in.done {
		return stageOver
	}
	return c.next(l)
}

// next goes on after an exchange: with a request that is here already, or
// waiting.
func (c *conn) next(l *loop) stage {
	c.rest()
	switch {
	case len(c.in.buffered()) > 0:
		return c.begin(l, true)
	case c.park():
		return stageParked
	case c.turns >= maxTurns:
		return stageHead
	}
	c.sock.again()
	return c.receive(l, true)
}
