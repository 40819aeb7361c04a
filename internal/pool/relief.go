package pool

import (
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// A function with a fallback is relieved of its own sandbox while that keeps
// failing: after strikeLimit failures, none of them more than strikeMemory
// after the one before, and fewer than one in strikeWorth requests that went
// well. After a pause, which doubles each time, and if requests still come, an
// instance is started for nobody; once one is ready the function is back in its
// own sandbox, where one failure within strikeMemory relieves it again. Without
// a request for reliefLimit all is forgotten.
const (
	strikeLimit  = 3
	strikeMemory = time.Minute
	strikeWorth  = 100
	// strikeGap has failures that come together count as one: a request that is
	// tried on several instances, and kills each of them, is one reason.
	strikeGap   = 500 * time.Millisecond
	reliefFirst = 5 * time.Second
	reliefLimit = 5 * time.Minute
)

// A relief is a group's count of failures and what follows from it. It is
// guarded by group.mu.
type relief struct {
	strikes int
	struck  time.Time // the last one
	reason  string    // of the last one
	well    int       // requests that went well since a strike was last taken back

	since time.Time // requests go to the fallback since then; zero: they don't
	asked bool      // one did since the last try
	pause time.Duration
	until time.Time // the next try
	tried time.Time // a try is under way since then; zero: none is
}

func (r *relief) active() bool { return !r.since.IsZero() }
func (r *relief) trying() bool { return !r.tried.IsZero() }

// served takes a strike back once enough requests have gone well.
func (r *relief) served() {
	if r.strikes == 0 || r.active() {
		return
	}
	if r.well++; r.well >= strikeWorth {
		r.strikes--
		r.well = 0
	}
}

// memory is how long a strike is remembered: from one to the next can be as long
// as it takes to see that something hangs.
func (g *group) memory() time.Duration {
	f := &g.rev.Function
	return strikeMemory + max(f.StartTimeout, f.Timeout.FirstByte)
}

// remembers reports whether g's relief must be kept.
func (g *group) remembers(now time.Time) bool {
	r := &g.relief
	return r.active() || r.strikes > 0 && now.Sub(r.struck) <= g.memory()
}

// relieved reports whether a request that comes now goes to the fallback.
func (g *group) relieved(now time.Time) bool {
	r := &g.relief
	if !r.active() {
		return false
	}
	if !r.asked {
		r.asked = true
		if !r.trying() {
			g.arm(now, r.until) // perhaps over: somebody is there to try for
		}
	}
	return true
}

// strike notes a failure of the function's own sandbox: of a start, of a
// health check, an instance that ended by itself or broke a request. What failed
// began at began. It means nothing to a function without a fallback.
func (g *group) strike(now, began time.Time, reason string) {
	r := &g.relief
	if g.rev.Fallback == nil || g.draining || g.closed || r.active() && (!r.trying() || began.Before(r.tried)) {
		return
	}
	if !g.remembers(now) {
		*r = relief{}
	}
	if r.strikes > 0 && !r.active() && now.Sub(r.struck) < strikeGap {
		return
	}
	r.strikes++
	r.struck, r.reason, r.well = now, reason, 0
	if r.strikes < strikeLimit {
		g.arm(now, now.Add(g.memory()+time.Second))
		return
	}
	r.pause = min(max(2*r.pause, reliefFirst), reliefLimit)
	r.until, r.tried = now.Add(r.pause), time.Time{}
	g.arm(now, r.until)
	if !r.active() {
		r.since = now
		g.owed = 0 // until it is tried
		g.pool.log.Warn("function falls back: its sandbox keeps failing", "function", g.key.ref.String(),
			"sandbox", g.rev.Function.Sandbox, "fallback", g.rev.Fallback.Function.Sandbox, "reason", reason)
	}
	g.failWaiters(g.errRelieved(now))
}

// errRelieved sends a request to the fallback.
func (g *group) errRelieved(now time.Time) error {
	return errStart(g.key.ref, faas.Errorf(faas.KindBroken, "%s", g.relief.reason), g.relief.until.Sub(now))
}

// retry does what is due of a relief, and reports whether a start may be wanted:
// of an instance to try, when a pause is over and requests still come.
func (g *group) retry(now time.Time) bool {
	r := &g.relief
	switch {
	case !g.remembers(now):
		*r = relief{}
		return false
	case !r.active():
		g.arm(now, r.struck.Add(g.memory()+time.Second))
		return false
	case now.Before(r.until):
		g.arm(now, r.until)
		return false
	case !r.asked && now.Sub(r.struck) < reliefLimit:
		g.arm(now, r.struck.Add(reliefLimit))
		return false
	case !r.asked:
		*r = relief{}
		return g.minimum() > 0
	}
	r.asked, r.tried = false, now
	if g.ableCount() > 0 { // left over, and well as far as is known
		g.recover(now)
		return g.minimum() > 0
	}
	r.until = now.Add(reliefLimit) // should nothing come of it
	g.arm(now, r.until)
	g.owed = max(g.owed, 1)
	g.owedUntil = r.until
	return true
}

// recover ends a relief that is being tried: an instance is ready.
func (g *group) recover(now time.Time) {
	r := &g.relief
	if !r.trying() {
		return
	}
	g.pool.log.Info("function is back in its own sandbox", "function", g.key.ref.String(),
		"sandbox", g.rev.Function.Sandbox, "after", now.Sub(r.since).Round(time.Millisecond).String())
	g.relief = relief{strikes: strikeLimit - 1, struck: now.Add(-strikeGap), reason: r.reason, pause: r.pause}
	g.arm(now, now.Add(g.memory()+time.Second))
}

// A failedStart marks an error that tells of a function which can't start in
// its sandbox: another one may serve it.
type failedStart struct{ error }

func (e *failedStart) Unwrap() error { return e.error }
