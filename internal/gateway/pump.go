package gateway

import (
	"errors"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/http1"
)

const (
	// holdMax is up to which size a request body is kept with its head, so
	// that the request can be repeated and costs one write.
	holdMax = 16 << 10
	// pumpGrace is how long a response that is complete waits for the rest of
	// its request, so that both connections can be used again.
	pumpGrace = 100 * time.Millisecond
)

// A pump moves a request body that did not come with its head, while the
// connection's goroutine waits for the response.
type pump struct {
	running bool
	done    chan struct{}
	whole   bool // all of the body was sent; read after done
}

// holdBody sees whether a small body is here as a whole.
func (x *exchange) holdBody() {
	in := &x.c.in
	if x.in.kind != http1.Sized || x.in.left > holdMax {
		return
	}
	x.held = x.in.left <= int64(in.w-in.r)
}

// appendBody puts the held body behind the request's head.
func (x *exchange) appendBody() {
	data, err := x.in.take(&x.c.in)
	if err != nil { // invoke has refused a length over the limit
		return
	}
	x.s.request = append(x.s.request, data...)
}

func (x *exchange) startPump() {
	x.pump = pump{running: true, done: make(chan struct{})}
	x.c.in.stall = &x.c.watch.stall
	go x.pumpBody()
}

// pumpBody ends when the body does, when either side fails, or when stopPump
// sets the deadlines.
func (x *exchange) pumpBody() {
	defer close(x.pump.done)
	defer x.c.g.contain("reading a request's body", func() { x.c.watch.fire(causeBody, errFault) })
	in, out, b := &x.c.in, &x.call.to, &x.in
	for {
		err := b.gather(in, out)
		x.c.watch.need.Store(b.need(in))
		if err == nil {
			err = asWrite(out.flush())
		}
		if err == nil && !b.done {
			err = b.more(in)
			if err == nil {
				continue
			}
		}
		x.pumpEnded(err)
		return
	}
}

func asWrite(err error) error {
	if err == nil {
		return nil
	}
	return &copyError{err, true}
}

// pumpEnded tells the connection's goroutine, by way of the watch, that the
// exchange is over when the body can't be completed. That the function takes
// no more is not such a case: it may have answered.
func (x *exchange) pumpEnded(err error) {
	w := &x.c.watch
	var side *copyError
	switch {
	case err == nil:
		x.pump.whole = true
	case errors.As(err, &side) && side.writing, timedOut(err):
	case isRefusal(side.err):
		w.fire(causeBody, side.err)
		return
	default:
		w.fire(causeGone, nil)
		return
	}
	// From here on the function has all that it will get.
	if first := x.limits.first; first > 0 && !timedOut(err) {
		w.dispatched(x.c.g.tick.Load() + first)
	}
}

// isRefusal tells a body that breaks the rules from a connection that broke.
func isRefusal(err error) bool {
	return syntaxError(err) != nil || kindOf(err) == faas.KindTooLarge
}

// joinPump waits for the pump, for grace at most, and then stops it. It
// reports whether the whole request was sent.
func (x *exchange) joinPump(grace time.Duration) bool {
	if !x.pump.running {
		return x.in.done
	}
	if grace > 0 {
		timer := time.NewTimer(grace)
		select {
		case <-x.pump.done:
		case <-timer.C:
		}
		timer.Stop()
	}
	select {
	case <-x.pump.done:
	default:
		_ = x.c.nc.SetReadDeadline(past)
		_ = x.call.up.SetWriteDeadline(past)
		<-x.pump.done
		_ = x.c.nc.SetReadDeadline(time.Time{})
	}
	x.pump.running = false
	x.c.in.stall = nil
	x.c.watch.stall.Store(0)
	return x.pump.whole
}

// pumped reports whether nothing of the request is still on its way.
func (x *exchange) pumped() bool {
	if !x.pump.running {
		return true
	}
	select {
	case <-x.pump.done:
		return true
	default:
		return false
	}
}
