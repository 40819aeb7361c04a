package gateway

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/http1"
)

// problemTimeout bounds how long a client may take to read a problem document.
const problemTimeout = 5 * time.Second

// statusClientGone is nginx's status for a client that closed before it was
// answered; nobody receives it, it stands in metrics and logs.
const statusClientGone = 499

// problems is the one place where a kind of error becomes an HTTP status.
var problems = [...]struct {
	status int
	slug   string
	title  string
}{
	faas.KindInternal:    {http.StatusInternalServerError, "internal", "Internal error"},
	faas.KindInvalid:     {http.StatusBadRequest, "invalid", "Invalid request"},
	faas.KindNotFound:    {http.StatusNotFound, "not-found", "Not found"},
	faas.KindTooLarge:    {http.StatusRequestEntityTooLarge, "too-large", "Too large"},
	faas.KindBusy:        {http.StatusTooManyRequests, "busy", "Busy"},
	faas.KindUnavailable: {http.StatusServiceUnavailable, "unavailable", "Unavailable"},
	faas.KindBroken:      {http.StatusBadGateway, "broken", "The function failed"},
	faas.KindTimeout:     {http.StatusGatewayTimeout, "timeout", "Timeout"},
	faas.KindCanceled:    {statusClientGone, "canceled", "The client has gone"},
}

// A document is a problem document (RFC 9457).
type document struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail"`
	Instance string `json:"instance"` // the request id
}

// syntaxError returns the *http1.Error that err is. One that the function
// caused has a kind and does not count.
func syntaxError(err error) *http1.Error {
	var known *faas.Error
	var syntax *http1.Error
	if errors.As(err, &known) || !errors.As(err, &syntax) {
		return nil
	}
	return syntax
}

// kindOf is faas.KindOf for errors of the syntax too.
func kindOf(err error) faas.Kind {
	syntax := syntaxError(err)
	switch {
	case errors.Is(err, errClientWrite):
		return faas.KindCanceled
	case syntax == nil:
		return faas.KindOf(err)
	case syntax.Status == http.StatusRequestHeaderFieldsTooLarge, syntax.Status == http.StatusRequestURITooLong:
		return faas.KindTooLarge
	default:
		return faas.KindInvalid
	}
}

// statusOf prefers the status that the syntax asks for to its kind's.
func statusOf(err error) int {
	if syntax := syntaxError(err); syntax != nil {
		return syntax.Status
	}
	return problems[kindOf(err)].status
}

func (x *exchange) describe(err error) document {
	p := problems[x.kind]
	d := document{
		Type: "urn:unifaas:problem:" + p.slug, Title: p.title,
		Status: x.status, Detail: err.Error(), Instance: string(x.id),
	}
	if x.status != p.status {
		d.Title = http.StatusText(x.status)
	}
	var known *faas.Error
	if x.kind == faas.KindInternal && !errors.As(err, &known) {
		// What such an error says is for the operator, not for the client.
		d.Detail = "internal error; the platform's log has the reason under this request id"
		x.c.g.opts.Logger.Error("request failed", "request", d.Instance, "function", x.function(), "err", err)
	}
	return d
}

// problem answers the client with err. A request body that has not come yet
// would be taken for the next request, so then the connection ends.
func (x *exchange) problem(err error) {
	x.skipBody()
	x.close = x.close || !x.in.done || x.c.g.draining.Load()
	text, jsonErr := json.Marshal(x.describe(err))
	if jsonErr != nil { // strings and a number: it can't
		text = nil
	}
	b := http1.AppendStatusLine(x.to.buf[:0], x.status, []byte(http.StatusText(x.status)))
	b = append(b, "Content-Type: application/problem+json\r\n"...)
	b = http1.AppendLength(b, int64(len(text)))
	if len(x.id) > 0 {
		b = http1.AppendField(b, "X-Request-Id", x.id)
	}
	if after := retryAfter(err, x.kind); after > 0 {
		b = http1.AppendField(b, "Retry-After", strconv.AppendInt(nil, after, 10))
	}
	b = x.appendConnection(b)
	b = append(b, "\r\n"...)
	if !x.toHead {
		b = append(b, text...)
	}
	x.to.buf, x.to.chunk = b, false
	x.answered = true
	_ = x.c.nc.SetDeadline(time.Time{}) // the sweeper may have set one
	wait := problemTimeout
	if x.c.g.draining.Load() {
		wait /= 10
	}
	_ = x.c.nc.SetWriteDeadline(time.Now().Add(wait))
	if x.to.flush() != nil {
		x.close = true
		return
	}
	if !x.close {
		_ = x.c.nc.SetWriteDeadline(time.Time{})
	}
}

// retryAfter is in whole seconds, at least one for whoever is busy.
func retryAfter(err error, kind faas.Kind) int64 {
	var e *faas.Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		return max(1, int64(math.Ceil(e.RetryAfter.Seconds())))
	}
	if kind == faas.KindBusy {
		return 1
	}
	return 0
}

// skipBody discards what is there of a request body that nobody will read.
func (x *exchange) skipBody() {
	for !x.in.done {
		data, err := x.in.take(&x.c.in)
		if err != nil || len(data) == 0 && !x.in.done {
			return
		}
	}
}

// refuse answers a head that could not be read.
func (x *exchange) refuse(err *http1.Error) {
	x.open()
	x.in.reset(http1.NoBody, 0, 0)
	x.close = true
	x.newID()
	x.failed, x.kind, x.status = true, kindOf(err), err.Status
	x.problem(err)
	x.observe()
	x.s.response = x.to.buf[:0]
	x.c.g.buffers.Put(x.s)
	x.s = nil
	x.linger()
}
