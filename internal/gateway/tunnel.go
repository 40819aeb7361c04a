package gateway

import (
	"errors"
	"io"

	"github.com/unifaas/unifaas/internal/http1"
)

// tunnelBuffer is small: what goes through a tunnel is mostly small, and
// there may be many.
const tunnelBuffer = 8 << 10

// switchProtocols passes a 101 on and moves bytes both ways until both sides
// have closed or the function's idle timeout ends it.
func (x *exchange) switchProtocols() error {
	if !x.upgrading || x.resp.UpgradeTo() == nil {
		return x.broken("switched protocols without being asked to", nil)
	}
	if x.pump.running && !x.joinPump(0) || !x.in.done {
		return x.broken("switched protocols before it got the request's body", nil)
	}
	x.tunnelled, x.close, x.answered, x.status = true, true, true, 101
	b := http1.AppendStatusLine(x.to.buf[:0], 101, x.resp.Reason)
	for i := range x.resp.Fields {
		if f := &x.resp.Fields[i]; !f.Known.Hop() && f.Known != http1.ContentLength && !x.resp.Nominated(f) {
			b = f.Append(b)
		}
	}
	b = append(b, "Connection: Upgrade\r\n"...)
	b = http1.AppendField(b, "Upgrade", x.resp.UpgradeTo())
	b = append(b, "\r\n"...)
	x.to.buf = append(b, x.call.from.buffered()...)
	if x.to.flush() != nil {
		return errClientWrite
	}
	x.c.watch.tunnel()
	return x.relay()
}

func (x *exchange) relay() error {
	c := &x.call
	early := x.c.in.buffered() // sent without waiting for the 101
	up := stream{conn: x.c.nc, buf: make([]byte, max(tunnelBuffer, len(early))), clock: &x.c.g.tick, last: &x.c.watch.last}
	up.w = copy(up.buf, early)
	x.c.in.discard(up.w)
	toFunction := make(chan struct{})
	go func() {
		defer close(toFunction)
		defer x.c.g.contain("moving bytes of a tunnel", func() { cutBoth(up.conn, c.to.conn) })
		half(&up, &c.to)
	}()
	down := stream{conn: c.up.link, buf: make([]byte, tunnelBuffer), clock: &x.c.g.tick, last: &x.c.watch.last}
	half(&down, &x.to)
	<-toFunction
	x.c.watch.detach()
	return nil
}

// half moves bytes one way. At the end it closes the writing side, so that
// the other end learns that there is no more; a failure ends both ways.
func half(from *stream, to *sink) {
	for {
		if data := from.buffered(); len(data) > 0 {
			n, err := to.conn.Write(data)
			to.last.Store(to.clock.Load())
			to.wrote += int64(n)
			if err != nil {
				break
			}
			from.discard(n)
		}
		err := from.fill()
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) || !closeWrite(to.conn) {
			break
		}
		return
	}
	cutBoth(from.conn, to.conn)
}

func cutBoth(a, b link) {
	_ = a.SetDeadline(past)
	_ = b.SetDeadline(past)
}
