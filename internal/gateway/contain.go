package gateway

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// errFault answers a request that a fault of ours struck. The log has the
// fault under the request's id.
var errFault = faas.Errorf(faas.KindInternal, "internal error; the platform's log has the reason under this request id")

// faultLogEvery bounds how often faults are logged: one in a sweep comes back
// twenty times a second. The metric counts all of them.
const faultLogEvery = 100 * time.Millisecond

// contain is deferred by every goroutine of the gateway: a fault of ours must
// end neither the platform nor what it did not strike. undo, which may be nil,
// is called after a fault.
func (g *Gateway) contain(doing string, undo func()) {
	if fault := recover(); fault != nil {
		g.report(fault, "doing", doing)
		if undo != nil {
			undo()
		}
	}
}

// report tells of a fault; attrs say where.
func (g *Gateway) report(fault any, attrs ...any) {
	g.metrics.faults.Inc()
	now := int64(time.Since(g.made)) + 1
	if last := g.faulted.Load(); last > 0 && now-last < int64(faultLogEvery) || !g.faulted.CompareAndSwap(last, now) {
		return
	}
	g.opts.Logger.Error("fault of the platform's own; please report it",
		append(attrs, "fault", fmt.Sprint(fault), "stack", string(debug.Stack()))...)
}

// contain keeps a fault of ours in the exchange that it struck; see
// [conn.mourn].
func (c *conn) contain() {
	if fault := recover(); fault != nil {
		c.report(fault)
		c.mourn()
	}
}

func (c *conn) report(fault any) {
	c.g.report(fault, "doing", "serving a request", "function", c.name, "request", string(c.x.id))
}

// mourn ends the exchange that a fault has struck: its client is told, if it
// has got nothing yet, and its connection ends; its instance is given back as
// broken; everybody else goes on.
func (c *conn) mourn() {
	x := &c.x
	// The exchange may be in any state: what follows may strike a fault too.
	defer c.g.contain("ending an exchange after a fault", nil)
	defer func() {
		x.hangUp()
		x.release(false)
	}()
	if x.s == nil {
		return // between two exchanges
	}
	x.endFaulty()
}

// endFaulty answers the exchange, and counts it.
func (x *exchange) endFaulty() {
	if x.pump.running && x.call.up != nil {
		x.joinPump(0) // it reads what the answer's way out reads
	}
	_, _ = x.c.watch.end()
	x.hangUp()
	x.release(false) // before the client can ask again
	x.fail(errFault)
	x.close = true
	x.observe()
	x.linger()
}
