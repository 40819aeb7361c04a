package pool

import (
	"math"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// A priority orders starts: whoever waits comes before what is kept warm.
type priority int

const (
	forRequests priority = iota
	forMinimum
	priorities
)

// ableCount is how many instances serve or could serve.
func (g *group) ableCount() (n int) {
	for _, i := range g.instances {
		if i.able() {
			n++
		}
	}
	return n
}

// surplus is how many instances are above the function's minimum.
func (g *group) surplus() int { return g.ableCount() - g.minimum() }

func (g *group) minimum() int {
	if g.draining || g.closed {
		return 0
	}
	return g.rev.Function.MinInstances
}

func (g *group) startsWanted() (n int) {
	for _, s := range g.starts {
		if !s.canceled {
			n++
		}
	}
	return n
}

// shareOf is how many instances n requests need.
func (g *group) shareOf(n int) int { return (n + g.capacity - 1) / g.capacity }

// headroom is how many more instances max-instances allows. An instance
// counts from its start until it is gone.
func (g *group) headroom() int {
	limit := g.rev.Function.MaxInstances
	if limit == 0 {
		return math.MaxInt
	}
	limit -= len(g.starts)
	for _, i := range g.instances {
		if !i.uncounted {
			limit--
		}
	}
	return limit
}

// wants returns how many starts the group lacks, max-instances aside: never
// more than its waiting requests, or its minimum, can use.
func (g *group) wants(pr priority, now time.Time) int {
	if g.dead || g.closed || g.backoff.active(now) {
		return 0
	}
	if pr == forRequests {
		return g.shareOf(g.waiters.n) - g.startsWanted()
	}
	return g.kept(now) - g.startsWanted()
}

// kept is how many starts what is kept warm takes: those that the minimum
// lacks, and those that are owed for instances that were lost.
func (g *group) kept(now time.Time) int {
	if g.relief.active() { // what is kept warm would be of no use now
		return g.owes(now)
	}
	return max(g.minimum()-g.ableCount(), g.owes(now))
}

// owes is how many starts are owed for instances that were lost.
func (g *group) owes(now time.Time) int {
	if now.After(g.owedUntil) {
		return 0
	}
	return g.owed
}

// lose notes that i is lost without having been asked to go. If it had proved
// itself, another is owed in its place for as long as it would have been kept.
func (g *group) lose(i *instance, now time.Time) {
	f := &g.rev.Function
	if i.replaced || !i.proved() || g.draining || g.closed || g.relief.active() || f.SingleUse != faas.Reuse || f.Keepalive <= 0 {
		return
	}
	i.replaced = true
	if g.spare > 0 {
		g.spare--
		return
	}
	g.owed++
	g.owedUntil = now.Add(f.Keepalive)
	g.arm(now, g.owedUntil.Add(time.Second)) // then the group may be dropped
}

// shed cancels the newest starts that nobody wants any more after a request
// has left the queue.
func (g *group) shed() {
	needed := g.shareOf(g.waiters.n) + g.kept(time.Now())
	surplus := g.startsWanted() - needed
	for n := len(g.starts) - 1; n >= 0 && surplus > 0; n-- {
		if s := g.starts[n]; !s.canceled {
			s.canceled = true
			s.cancel()
			surplus--
		}
	}
}

// makeRoom stops an instance that stands between a start and max-instances: the
// one idle longest of those that are late with their health check and, for a
// request that waits, of those that are used up.
func (g *group) makeRoom(pr priority, fx *effects) {
	var oldest *instance
	for _, i := range g.instances {
		if i.stopping && !i.uncounted {
			return // room is being made
		}
		unfit := i.aside || i.spent && pr == forRequests
		if unfit && i.idle() && (oldest == nil || i.idleSince.Before(oldest.idleSince)) {
			oldest = i
		}
	}
	if oldest != nil {
		g.beginStop(oldest, fx)
	}
}

// hopeless reports whether a request that waits now would wait for nothing:
// starts are held back and nothing runs.
func (g *group) hopeless(now time.Time) bool {
	return g.backoff.active(now) && g.startsWanted() == 0 && g.ableCount() == 0
}

// failIfHopeless answers the waiting requests with the last failure.
func (g *group) failIfHopeless(now time.Time) {
	if g.waiters.n > 0 && g.hopeless(now) {
		g.failWaiters(errStart(g.key.ref, g.backoff.err, g.backoff.until.Sub(now)))
	}
}
