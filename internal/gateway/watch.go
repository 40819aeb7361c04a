package gateway

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// past is a deadline that has passed: setting it wakes whoever is blocked.
var past = time.Unix(1, 0)

// pressedIdle is how long a connection may be idle while descriptors are
// scarce.
const pressedIdle = int64(time.Second)

type phase uint8

const (
	phaseBusy     phase = iota // the connection's goroutine is not waiting for long
	phaseIdle                  // waits for a request
	phaseHead                  // has part of a head
	phaseExchange              // a request is being queued or served
	phaseTunnel                // after an Upgrade
)

// A cause is why the sweeper, or the goroutine that reads the request's body,
// ended what the connection was waiting for.
type cause uint8

const (
	causeNone      cause = iota
	causeIdle            // keep-alive is over
	causeHead            // the head did not come in time
	causeFirstByte       // Timeouts.FirstByte
	causeSilence         // Timeouts.Idle
	causeTotal           // Timeouts.Total
	causeStall           // the client neither sends nor takes
	causeGone            // the client has closed
	causeBody            // the request's body is malformed or too large
	causeCut             // the gateway stops
)

// bodyUnknown is the value of watch.need for a chunked body.
const bodyUnknown = -1

// A watch is what the sweeper knows of a connection. All times are ticks of
// the gateway's clock; 0 is none.
type watch struct {
	client link
	// last is when a byte was last moved in either direction; client since
	// when the client is being waited for, 0 when it is not.
	last  atomic.Int64
	stall atomic.Int64
	// need is how much of the request's body is yet to be read from the
	// client's socket, or bodyUnknown.
	need atomic.Int64

	mu        sync.Mutex
	phase     phase
	deadline  int64 // of the head, or of the response's first byte
	total     int64
	idle      int64 // a duration
	stallMax  int64 // a duration
	since     int64 // when the phase began
	answered  bool  // the final response has begun
	suspected int64 // need when the client was last found half-closed
	up        link
	cancel    context.CancelFunc
	cause     cause
	why       error // with causeBody
}

// await enters the wait for a head, for at most d.
func (w *watch) await(p phase, now int64, d time.Duration) {
	w.mu.Lock()
	w.phase, w.since, w.deadline = p, now, now+ticks(d)
	w.mu.Unlock()
}

// begin enters an exchange.
func (w *watch) begin(now int64, t *limits) {
	w.last.Store(now)
	w.stall.Store(0)
	w.mu.Lock()
	raced := w.cause != causeNone
	w.cause, w.why = causeNone, nil
	w.phase, w.deadline, w.suspected = phaseExchange, 0, 0
	w.total, w.idle, w.stallMax = 0, 0, t.stall
	w.mu.Unlock()
	if raced { // the head came just as its time was over
		_ = w.client.SetDeadline(time.Time{})
	}
}

// queue has cancel called when the client goes while it waits for an instance.
func (w *watch) queue(cancel context.CancelFunc) {
	w.mu.Lock()
	w.cancel = cancel
	fired := w.cause != causeNone
	w.mu.Unlock()
	if fired && cancel != nil {
		cancel()
	}
}

// attach binds up to the exchange: it is cut off when the exchange is ended.
// It reports false when that has happened already.
func (w *watch) attach(up link, now int64, t *limits, first bool) bool {
	w.last.Store(now)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.up, w.answered = up, false
	w.idle = t.idle
	if w.deadline = 0; first && t.first > 0 {
		w.deadline = now + t.first
	}
	if w.total == 0 && t.total > 0 {
		w.total = now + t.total
	}
	return w.cause == causeNone
}

// dispatched sets when the response's first byte is due, now that the request
// is sent. It may come after the response has begun.
func (w *watch) dispatched(deadline int64) {
	w.mu.Lock()
	if !w.answered {
		w.deadline = deadline
	}
	w.mu.Unlock()
}

// heard is told that the final response has begun.
func (w *watch) heard() {
	w.mu.Lock()
	w.answered, w.deadline = true, 0
	w.mu.Unlock()
}

// detach unbinds the upstream connection and tells why the exchange was ended
// meanwhile; causeNone means that the connection is as it was.
func (w *watch) detach() cause {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.up, w.deadline, w.idle = nil, 0, 0
	return w.cause
}

// end leaves an exchange; the connection's goroutine is not watched any more.
func (w *watch) end() (cause, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.phase, w.deadline, w.total, w.idle, w.up, w.cancel = phaseBusy, 0, 0, 0, nil, nil
	return w.cause, w.why
}

func (w *watch) tunnel() {
	w.mu.Lock()
	w.phase, w.deadline = phaseTunnel, 0
	w.mu.Unlock()
}

func (w *watch) fired() (cause, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cause, w.why
}

// fire ends what the connection waits for. The first cause stays.
func (w *watch) fire(c cause, why error) {
	w.mu.Lock()
	w.fireLocked(c, why)
	w.mu.Unlock()
}

func (w *watch) fireLocked(c cause, why error) {
	if w.cause != causeNone && c != causeCut {
		return
	}
	w.cause, w.why = c, why
	if w.phase == phaseIdle || w.phase == phaseHead {
		_ = w.client.SetReadDeadline(past)
		return
	}
	_ = w.client.SetDeadline(past)
	if w.up != nil {
		_ = w.up.SetDeadline(past)
	}
	if w.cancel != nil {
		w.cancel()
	}
}

// limits are one exchange's timeouts in ticks; 0 is none.
type limits struct {
	first, idle, total, stall int64
}
