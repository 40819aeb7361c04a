package gateway

import (
	"errors"
	"io"

	"github.com/unifaas/unifaas/internal/http1"
)

// maxInterim bounds the 1xx responses before the final one.
const maxInterim = 32

// errClientWrite is returned when the client takes no more.
var errClientWrite = errors.New("the client's connection broke")

// respond reads the function's response and passes it on.
func (x *exchange) respond() (err error) {
	defer func() {
		if err != nil && x.pump.running {
			// The pump must not touch the client's stream any more when the
			// error is answered.
			x.joinPump(0)
			x.pump.running = true // repeatable: part of the body is gone
		}
	}()
	for range maxInterim {
		if err := x.readResponseHead(); err != nil {
			return err
		}
		switch {
		case x.resp.Status == 101:
			return x.switchProtocols()
		case x.resp.Status >= 200:
			return x.final()
		}
		if err := x.interim(); err != nil {
			return err
		}
	}
	return x.broken("sent too many interim responses", nil)
}

func (x *exchange) readResponseHead() error {
	for seen := 0; ; {
		if whole, err := x.responseHead(seen); whole || err != nil {
			return err
		}
		seen = len(x.call.from.buffered())
		if err := x.call.from.fill(); err != nil {
			return x.noHead(err)
		}
		x.call.heard = true
	}
}

// responseHead reads the head that c.from begins with. It reports false when
// the head is not whole; the first seen bytes were looked at before.
func (x *exchange) responseHead(seen int) (whole bool, err error) {
	from := &x.call.from
	data := from.buffered()
	end, err := http1.HeadEnd(data, seen)
	if err == nil && end > 0 {
		err = x.resp.Parse(data[:end], x.toHead, x.c.g.opts.MaxFields)
	}
	switch {
	case err != nil:
		return false, x.broken("sent a response that is not HTTP/1.1: "+err.Error(), err)
	case end > x.c.g.opts.MaxHead, end == 0 && len(data) >= x.c.g.opts.MaxHead:
		return false, x.broken("sent a response head that is too large", nil)
	}
	from.r += end // the views are used until the head is built anew
	return end > 0, nil
}

func (x *exchange) noHead(err error) error {
	if timedOut(err) {
		return errEnded
	}
	if x.call.heard {
		return x.broken("closed the connection in the middle of its response head", err)
	}
	x.call.stale = x.call.up.reused
	return x.broken("closed the connection without a response", err)
}

// interim passes a 1xx response on. HTTP/1.0 has none.
func (x *exchange) interim() error {
	if x.resp.Status == 100 {
		x.continued = true
	}
	if x.req.Minor == 0 {
		return nil
	}
	b := http1.AppendStatusLine(x.to.buf[:0], x.resp.Status, x.resp.Reason)
	for i := range x.resp.Fields {
		if f := &x.resp.Fields[i]; f.Known == http1.Other && !x.resp.Nominated(f) {
			b = f.Append(b)
		}
	}
	x.to.buf = append(b, "\r\n"...)
	if x.to.flush() != nil {
		return errClientWrite
	}
	return nil
}

// beginAnswer builds the head of the final response.
func (x *exchange) beginAnswer() {
	x.out.reset(x.resp.Body, x.resp.Length, 0)
	// A client that was not told to go on may send its body or not: what
	// follows on its connection can't be told.
	x.close = x.close || x.c.g.draining.Load() || x.req.ExpectContinue && !x.continued && !x.pumped()
	x.buildResponse()
	x.answered, x.to.any = true, false
}

// final passes the final response on, its head with what is there of its body.
func (x *exchange) final() error {
	x.beginAnswer()
	out, from := &x.to, &x.call.from
	for {
		err := x.out.gather(from, out)
		if err == nil && x.out.done {
			return x.finish()
		}
		if err == nil {
			err = asWrite(out.flush())
		}
		if err == nil {
			x.c.watch.heard()
			err = x.out.more(from)
		}
		if err != nil {
			return x.cutShort(err)
		}
	}
}

// finish gives instance and connection back before the client gets its last
// byte: a client that asks again at once finds them free.
func (x *exchange) finish() error {
	if x.pumped() {
		x.settle(x.joinPump(0))
		return x.deliver()
	}
	if err := x.deliver(); err != nil {
		return err
	}
	x.settle(x.joinPump(pumpGrace))
	return nil
}

// deliver writes what the client has not got yet.
func (x *exchange) deliver() error {
	if x.to.flush() != nil {
		return errClientWrite
	}
	return nil
}

// settle ends the call after a complete response.
func (x *exchange) settle(whole bool) {
	c := &x.call
	c.complete = true
	cause := x.c.watch.detach()
	surplus := len(c.from.buffered()) > 0 // nobody asked for it
	if whole && x.resp.Persistent && cause == causeNone && !surplus {
		c.conns.put(c.up)
	} else {
		_ = c.up.Close()
	}
	c.up = nil
	x.close = x.close || !whole
	x.release(true)
}

// cutShort ends a response that can't be completed.
func (x *exchange) cutShort(err error) error {
	var side *copyError
	switch {
	case timedOut(err):
		return errEnded
	case errors.As(err, &side) && side.writing:
		return errClientWrite
	case errors.Is(err, io.ErrUnexpectedEOF):
		return x.broken("closed the connection in the middle of its response", err)
	}
	return x.broken("sent a malformed response body", err)
}
