package pool

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/unifaas/unifaas/internal/faas"
)

// A groupKey names a revision of a function.
type groupKey struct {
	ref    faas.Ref
	digest string
}

func keyOf(rev *faas.Revision) groupKey {
	return groupKey{ref: rev.Function.Ref, digest: rev.Digest}
}

// A group holds the instances of one revision and the requests that wait for
// them. It exists only while there is something to hold.
//
// Whenever mu is free, waiters wait only if no instance has room: whoever
// makes room hands it out before letting go, so that nobody overtakes.
type group struct {
	pool      *Pool
	key       groupKey
	rev       *faas.Revision
	capacity  int // requests per instance at once
	history   *history
	footprint footprint
	onTimer   func()
	// waitSeconds is looked up once: a request may be answered after the
	// function has been forgotten, and must not bring its series back.
	waitSeconds prometheus.Observer

	listed [priorities]bool // in a ring of the schedule; guarded by Pool.mu

	mu        sync.Mutex
	dead      bool // dropped from the index: look again
	closed    bool // the pool is stopping
	draining  bool // another revision is current, or none
	standIn   bool // for the current revision, while that keeps failing
	instances []*instance
	room      stack
	waiters   queue
	starts    []*start // in progress, the oldest first; canceled ones until they end
	backoff   backoff
	owed      int       // starts that make up for instances that were lost
	owedUntil time.Time // then they are not wanted any more
	spare     int       // instances that made up for some that came back
	relief    relief
	timer     *time.Timer
	timerAt   time.Time // zero: not armed
}

// effects are what remains to be done once group.mu has been let go.
type effects struct {
	stop  []*instance
	kick  bool // the group may want a start
	idle  bool // an instance became idle: a start may want its memory
	empty bool // the group may have nothing left to hold
}

// take returns a lease's worth of room, nil when there is none.
func (g *group) take() *instance {
	i := g.room.top
	if i == nil {
		return nil
	}
	g.occupy(i)
	return i
}

func (g *group) occupy(i *instance) {
	i.inFlight++
	i.spent = g.rev.Function.SingleUse != faas.Reuse
	if i.inFlight >= g.capacity {
		g.room.remove(i)
	}
}

func (g *group) release(i *instance, healthy bool) (fx effects) {
	i.inFlight--
	if healthy {
		i.served++
		g.relief.served()
		if g.backoff.failures > 0 && i.created.After(g.backoff.failed) && !i.stopping {
			// One that is older, or that has ended, proves nothing about the next.
			g.backoff.reset()
			fx.kick = true
		}
	} else {
		now := time.Now()
		first := !i.broke && !i.mourned
		i.broke = true
		g.lose(i, now)
		g.retire(i)
		if first {
			g.strike(now, i.created, "an instance broke a request, or let it time out")
		}
		g.failIfHopeless(now)
		fx.kick = true
	}
	g.settle(i, false, &fx)
	return fx
}

// untake undoes a take whose request went away before it used the instance.
func (g *group) untake(i *instance, cold bool) (fx effects) {
	i.inFlight--
	if i.inFlight == 0 && !i.retired {
		i.spent = false
	}
	g.settle(i, cold, &fx)
	return fx
}

// settle decides what becomes of an instance that has just become ready or
// finished a request.
func (g *group) settle(i *instance, cold bool, fx *effects) {
	now := g.pool.now()
	i.lastUsed = now
	switch {
	case i.stopping:
		return
	case i.retired, i.spent && g.rev.Function.SingleUse == faas.GoAtOnce:
		if i.inFlight == 0 {
			g.beginStop(i, fx)
		}
		return
	case !i.spent:
		g.serve(i, cold)
	}
	if i.inFlight == 0 {
		g.idled(i, now, fx)
	}
}

// serve hands i's room to the requests that wait, in their order, and keeps
// what is left of it.
func (g *group) serve(i *instance, cold bool) {
	g.room.push(i)
	for g.waiters.n > 0 && i.stacked {
		w := g.waiters.pop()
		g.occupy(i)
		w.result <- outcome{lease: &Lease{pool: g.pool, instance: i, cold: cold}}
	}
}

func (g *group) idled(i *instance, now time.Time, fx *effects) {
	i.idleSince = now
	fx.idle = true
	fx.kick = fx.kick || g.waiters.n > 0
	switch keepalive := g.rev.Function.Keepalive; {
	case g.draining || g.closed:
		g.beginStop(i, fx)
	case keepalive <= 0 && (i.spent || g.surplus() > 0):
		g.beginStop(i, fx)
	default:
		g.arm(now, now.Add(keepalive))
	}
}

// retire lets i have no new requests. Where other requests still run on it,
// it no longer counts against max-instances: a few long streams on a broken
// instance must not keep the function down.
func (g *group) retire(i *instance) {
	if i.retired {
		return
	}
	i.retired = true
	i.uncounted = i.inFlight > 0
	g.room.remove(i)
}

func (g *group) beginStop(i *instance, fx *effects) {
	if i.stopping {
		return
	}
	g.retire(i)
	i.stopping = true
	if !i.replaced {
		g.spare = max(0, g.spare-1)
	}
	fx.stop = append(fx.stop, i)
	fx.kick = true
}

func (g *group) removeInstance(i *instance) {
	for n, other := range g.instances {
		if other == i {
			g.instances = append(g.instances[:n], g.instances[n+1:]...)
			return
		}
	}
}

// failWaiters answers every request that waits.
func (g *group) failWaiters(err error) {
	for w := g.waiters.pop(); w != nil; w = g.waiters.pop() {
		w.result <- outcome{err: err}
	}
}

// empty reports whether there is nothing left to hold. A failing revision is
// held until its back-off would be forgotten.
func (g *group) empty(now time.Time) bool {
	return len(g.instances) == 0 && g.waiters.n == 0 && len(g.starts) == 0 &&
		(g.draining || g.closed || g.rev.Function.MinInstances == 0) &&
		(g.closed || g.owes(now) == 0) &&
		(g.closed || !g.remembers(now)) &&
		(g.closed || g.backoff.failures == 0 || !now.Before(g.backoff.until.Add(backoffLimit)))
}
