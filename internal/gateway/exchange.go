package gateway

import (
	"bytes"
	"errors"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/http1"
)

// An exchange is one request and its response. It lives in its connection and
// is used again for every request.
type exchange struct {
	c    *conn
	s    *scratch
	req  http1.Request
	resp http1.Response
	in   body // of the request
	out  body // of the response
	to   sink // the client
	rev  *faas.Revision
	fm   *functionMetrics
	err  error // with stageFailed

	began     time.Time
	limits    limits
	path      []byte // what the function is asked for: origin form
	id        []byte // request id
	idRoom    [maxRequestID]byte
	emptyLine bool // an empty line before this request was skipped

	toHead     bool // a HEAD request
	idempotent bool
	held       bool // the whole body is in s.request
	upgrading  bool // the function was asked to switch protocols
	close      bool // the client's connection ends with this exchange
	answered   bool // a final response head was given to the sink
	continued  bool // the client was told to go on with its body
	tunnelled  bool
	aborted    bool // the connection ends without another byte
	status     int
	kind       faas.Kind
	failed     bool
	sent       int64 // bytes of the response

	call call
	pump pump
}

// run serves the request whose head the connection's buffer begins with, or
// what from leaves of it. It reports whether the connection can be used for
// another.
func (x *exchange) run(from stage) (again bool) {
	if from != stageOver {
		x.end(x.serve(from))
	}
	if x.close {
		x.linger()
		return false
	}
	return x.in.done
}

func (x *exchange) serve(from stage) error {
	switch from {
	case stageHead:
		x.open()
		if err := x.start(); err != nil {
			return err
		}
		return x.invoke(stageBegun)
	case stageFailed:
		return x.err
	default:
		return x.invoke(from)
	}
}

// open begins an exchange.
func (x *exchange) open() {
	g := x.c.g
	x.reset()
	x.s = g.buffers.Get().(*scratch)
	x.to = sink{conn: x.c.nc, buf: x.s.response[:0], clock: &g.tick, last: &x.c.watch.last, stall: &x.c.watch.stall}
}

// end ends an exchange but for its connection. err is why it has failed.
func (x *exchange) end(err error) {
	cause, why := x.c.watch.end()
	if err != nil {
		x.fail(x.blame(err, cause, why))
	} else if cause != causeNone {
		x.close = true
	}
	x.observe()
	x.s.response = x.to.buf[:0]
	x.c.g.buffers.Put(x.s)
	x.s = nil
}

func (x *exchange) reset() {
	x.began = time.Now()
	x.rev, x.fm, x.path, x.id, x.err = nil, nil, nil, nil, nil
	x.emptyLine, x.toHead, x.idempotent, x.held, x.upgrading = false, false, false, false, false
	x.close, x.answered, x.continued, x.tunnelled, x.aborted = false, false, false, false, false
	x.status, x.kind, x.failed, x.sent = 0, 0, false, 0
	x.pump.running = false
}

// start reads the request's head, finds its function and writes what that gets
// to x.s.request.
func (x *exchange) start() error {
	c := x.c
	now := c.g.tick.Load()
	x.limits = limits{stall: ticks(c.g.opts.ClientTimeout)}
	x.in.reset(http1.NoBody, 0, 0)
	head := c.in.buffered()[:c.head]
	err := x.req.Parse(head, c.g.limits)
	if err != nil {
		x.close = true // where the next request begins is not known
		x.newID()
		c.watch.begin(now, &x.limits)
		return err
	}
	x.close = !x.req.Persistent
	x.toHead = string(x.req.Method) == "HEAD"
	x.idempotent = idempotent(x.req.Method)
	x.takeID()
	x.in.reset(x.req.Body, x.req.Length, c.g.opts.MaxBody)
	c.in.discardHead(c.head)
	c.watch.need.Store(x.in.need(&c.in))
	c.watch.begin(now, &x.limits)
	if err := x.route(); err != nil {
		return err
	}
	x.fm.inFlight.Inc()
	if limit := c.g.opts.MaxBody; limit > 0 && x.req.Length > limit {
		return errTooLarge(limit)
	}
	x.compose()
	return nil
}

// idempotent lists the methods of RFC 9110 section 9.2.2.
func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

var invokePrefix = []byte("/invoke/")

// route finds the function and what it is asked for, byte for byte.
func (x *exchange) route() error {
	c := x.c
	rest, ok := bytes.CutPrefix(x.req.Target, invokePrefix)
	if !ok {
		return faas.Errorf(faas.KindNotFound, "nothing is here; functions are at /invoke/FUNCTION/PATH")
	}
	end := bytes.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	name := rest[:end]
	if string(name) != c.name {
		if !faas.ValidName(string(name)) {
			return faas.Errorf(faas.KindNotFound, "this is no function's name")
		}
		c.name = string(name)
	}
	rev, err := c.g.opts.Catalog.Lookup(c.name)
	if err != nil {
		return err
	}
	x.rev, x.path = rev, rest[end:]
	x.fm = c.g.metrics.of(rev.Function.Ref)
	return nil
}

// discardHead is discard, but leaves the bytes where they are: the request's
// views are used until its head has been built anew.
func (s *stream) discardHead(n int) { s.r += n }

// blame finds the error that ended the exchange: when the sweeper did, err is
// only what that looked like from here.
func (x *exchange) blame(err error, c cause, why error) error {
	f := x.function()
	switch c {
	case causeFirstByte:
		return faas.Errorf(faas.KindTimeout, "function %q did not begin to answer within %v", f, x.rev.Function.Timeout.FirstByte)
	case causeSilence:
		return faas.Errorf(faas.KindTimeout, "function %q moved no byte for %v", f, x.rev.Function.Timeout.Idle)
	case causeTotal:
		return faas.Errorf(faas.KindTimeout, "function %q did not finish within %v", f, x.rev.Function.Timeout.Total)
	case causeStall:
		return errStall
	case causeGone:
		return errGone
	case causeBody:
		return why
	case causeCut:
		return faas.Errorf(faas.KindUnavailable, "the platform is stopping")
	}
	return err
}

// function is the name of the function, for people; "" when none was found.
func (x *exchange) function() string {
	if x.rev == nil {
		return ""
	}
	return x.rev.Function.Ref.String()
}

var (
	errStall = &http1.Error{Status: 408, Detail: "the client was waited for too long"}
	errGone  = faas.Errorf(faas.KindCanceled, "the client has gone away")
)

// fail answers with err, when nothing was answered yet and the client is
// there; otherwise the connection ends.
func (x *exchange) fail(err error) {
	x.failed = true
	x.kind = kindOf(err)
	x.status = statusOf(err)
	if x.answered && x.to.any || x.kind == faas.KindCanceled || errors.Is(err, errClientWrite) {
		x.close, x.aborted = true, true
		x.abort()
		return
	}
	x.problem(err)
}
