package gateway

import (
	"io"
	"net"
	"time"

	"github.com/unifaas/unifaas/internal/http1"
)

// lingerTimeout bounds how long a connection that is to be closed is read
// from, so that the client can read its answer first: closing a socket with
// unread data resets it, and a reset may overtake the answer.
const lingerTimeout = 2 * time.Second

// linger waits for the client to close, where it may still be sending.
func (x *exchange) linger() {
	c := x.c
	if x.tunnelled || x.aborted || !x.failed && x.in.done || x.gone() {
		return
	}
	if !closeWrite(c.nc) {
		return
	}
	wait := lingerTimeout
	if c.g.draining.Load() {
		wait /= 10
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(wait))
	_, _ = io.CopyBuffer(io.Discard, struct{ io.Reader }{c.nc}, c.in.buf)
}

func (x *exchange) gone() bool {
	cause, _ := x.c.watch.fired()
	return cause == causeGone || cause == causeCut || x.status == statusClientGone
}

// abort makes sure that a response that was cut short does not look whole: one
// that ends with the connection needs a reset for that.
func (x *exchange) abort() {
	if x.answered && x.resp.Body != http1.Sized && x.req.Minor == 0 {
		switch c := x.c.nc.(type) {
		case *sock:
			c.resetOnClose()
		case *net.TCPConn:
			_ = c.SetLinger(0)
		}
	}
}
