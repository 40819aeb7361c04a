package gateway

import (
	"context"
	"errors"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/http1"
)

// A call is one try of an exchange on one instance.
type call struct {
	lease    Lease // nil once released
	conns    *upConns
	up       *upConn // nil once given back or closed
	trip     trip
	from     stream
	to       sink
	sent     bool // the function may have got a byte
	heard    bool // a byte of the response came
	stale    bool // up was kept from earlier and is found to be closed
	complete bool // the whole response was read
}

var errSendTwice = errors.New("the connection was closed before it got a byte")

// compose writes what the function gets to x.s.request, as far as it is here.
func (x *exchange) compose() {
	x.holdBody()
	x.buildRequest()
	if x.held {
		x.appendBody()
	}
}

// whole reports whether x.s.request is all that the function gets.
func (x *exchange) whole() bool { return x.in.done || x.held }

// invoke sends the request to an instance and its response to the client, or
// does what from leaves of that.
func (x *exchange) invoke(from stage) error {
	for try := 1; ; try++ {
		if from == stageBegun {
			if err := x.acquire(); err != nil {
				return err
			}
		}
		err := x.attempt(from)
		from = stageBegun
		if err == nil {
			return nil
		}
		if try >= x.c.g.opts.Tries || !x.repeatable(err) {
			return err
		}
		x.fm.retries.Inc()
	}
}

// repeatable reports whether the request may be sent to another instance: no
// byte of a response came, and either the function never got a byte of the
// request, or the request is idempotent and its body is here to be repeated.
func (x *exchange) repeatable(err error) bool {
	if kindOf(err) != faas.KindBroken || x.call.heard || x.answered || x.pump.running {
		return false
	}
	if c, _ := x.c.watch.fired(); c != causeNone {
		return false
	}
	if !x.call.sent {
		return true
	}
	return x.idempotent && (x.req.Body == http1.NoBody || x.held)
}

// acquire takes a lease: at once where an instance is free, else waiting under
// a context that ends when the client goes.
func (x *exchange) acquire() error {
	if x.tryAcquire() {
		return nil
	}
	ctx, cancel := context.WithCancel(x.c.g.base)
	defer cancel()
	x.c.watch.queue(cancel)
	lease, err := x.c.g.opts.Pool.Acquire(ctx, x.rev)
	x.c.watch.queue(nil)
	x.call.lease = lease
	return err
}

func (x *exchange) tryAcquire() bool {
	x.call = call{}
	lease, ok := x.c.g.opts.Pool.TryAcquire(x.rev)
	if ok {
		x.call.lease = lease
	}
	return ok
}

// attempt runs the exchange on the instance that x.call has a lease on, and
// releases it. A kept connection that turns out to be closed is replaced,
// once, by a new one.
func (x *exchange) attempt(from stage) error {
	if x.call.conns == nil {
		x.call.conns = x.c.g.connsOf(x.call.lease, x.rev.Function.Concurrency)
	}
	var err error
	switch from {
	case stageSettled:
		return x.deliver()
	case stageAsked:
		err = x.asked()
	default:
		err = x.tryKept()
	}
	for errors.Is(err, errNotQuiet) && x.call.up.reused {
		err = x.tryKept()
	}
	if err != nil && x.call.stale && x.repeatable(err) {
		x.call.stale, x.call.sent = false, false
		err = x.tryOn(nil)
	}
	healthy := x.healthy(err)
	x.hangUp()
	x.release(healthy)
	return err
}

// healthy tells whether err leaves the instance beyond suspicion. A kept
// connection that the function closed just as it was used is no fault.
func (x *exchange) healthy(err error) bool {
	if err == nil || x.call.stale {
		return true
	}
	cause, why := x.c.watch.fired()
	switch kindOf(x.blame(err, cause, why)) {
	case faas.KindBroken, faas.KindTimeout:
		return false
	}
	return true
}

// tryKept tries a kept connection, or a new one when there is none.
func (x *exchange) tryKept() error {
	return x.tryOn(x.call.conns.take(x.c.loop(), !x.whole()))
}

func (x *exchange) release(healthy bool) {
	if x.call.lease != nil {
		x.call.lease.Release(healthy)
		x.call.lease = nil
	}
}

// hangUp closes the upstream connection if the call still has it.
func (x *exchange) hangUp() {
	if x.call.up != nil {
		x.c.watch.detach()
		_ = x.call.up.Close()
		x.call.up = nil
	}
}
