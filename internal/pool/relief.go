package pool

import (
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// A function with a fallback is relieved of its own sandbox while that keeps
// failing: after strikeLimit failures, none of them more than strikeMemory
// after the one before. After a pause, which doubles each time, and if requests
// still come, an instance is started for nobody; once it is ready the function
// is back in its own sandbox, where one failure within strikeMemory relieves it
// again. Without a request for reliefLimit all is forgotten.
const (
	strikeLimit  = 3
	strikeMemory = time.Minute
	reliefFirst  = 5 * time.Second
	reliefLimit  = 5 * time.Minute
)

// A relief is a group's count of failures and what follows from it. It is
// guarded by group.mu.
type relief struct {
	strikes int
	struck  time.Time // the last one
	reason  string    // of the last one

	since  time.Time // requests go to the fallback since then; zero: they don't
	asked  bool      // one did since the last try
	pause  time.Duration
	until  time.Time // the next try
	trying bool      // since tried
	tried  time.Time
}

func (r *relief) active() bool { return !r.since.IsZero() }

// remembers reports whether r must be kept.
func (r *relief) remembers(now time.Time) bool {
	return r.active() || r.strikes > 0 && now.Sub(r.struck) <= strikeMemory
}

// relieved reports whether a request that comes now goes to the fallback.
func (g *group) relieved(now time.Time) bool {
	r := &g.relief
	if !r.active() {
		return false
	}
	if !r.asked && !r.trying {
		r.asked = true
		g.arm(now, r.until) // perhaps over: somebody is there to try for
	}
	return true
}

// strike notes a failure of the function's own sandbox: of a start, of a
// health check, an instance that ended by itself or broke a request. It means
// nothing to a function without a fallback.
func (g *group) strike(now time.Time, reason string) {
	r := &g.relief
	if g.rev.Fallback == nil || g.draining || g.closed || r.active() && !r.trying {
		return
	}
	if !r.remembers(now) {
		*r = relief{}
	}
	r.strikes++
	r.struck, r.reason = now, reason
	if r.strikes < strikeLimit {
		g.arm(now, now.Add(strikeMemory+time.Second))
		return
	}
	r.pause = min(max(2*r.pause, reliefFirst), reliefLimit)
	r.until, r.trying = now.Add(r.pause), false
	g.arm(now, r.until)
	if !r.active() {
		r.since = now
		g.pool.log.Warn("function falls back: its sandbox keeps failing", "function", g.key.ref.String(),
			"sandbox", g.rev.Function.Sandbox, "fallback", g.rev.Fallback.Function.Sandbox, "reason", reason)
	}
	g.failWaiters(g.errRelieved(now))
}

// errRelieved sends a request to the fallback.
func (g *group) errRelieved(now time.Time) error {
	return errStart(g.key.ref, faas.Errorf(faas.KindBroken, "%s", g.relief.reason), g.relief.until.Sub(now))
}

// retry does what is due of a relief, and reports whether an instance is to be
// tried: when a pause is over and requests still come.
func (g *group) retry(now time.Time) bool {
	r := &g.relief
	switch {
	case !r.remembers(now):
		*r = relief{}
		return false
	case !r.active():
		g.arm(now, r.struck.Add(strikeMemory+time.Second))
		return false
	case now.Before(r.until):
		g.arm(now, r.until)
		return false
	case !r.asked && now.Sub(r.struck) < reliefLimit:
		g.arm(now, r.struck.Add(reliefLimit))
		return false
	case !r.asked:
		*r = relief{}
		return false
	}
	r.asked, r.trying, r.tried = false, true, now
	if g.ableCount() > 0 { // kept warm meanwhile, and well as far as is known
		g.recover(now, now)
		return false
	}
	r.until = now.Add(reliefLimit) // should nothing come of it
	g.arm(now, r.until)
	g.owed = max(g.owed, 1)
	g.owedUntil = r.until
	return true
}

// recover ends a relief if it was tried and an instance that began to start
// since then is ready.
func (g *group) recover(began, now time.Time) {
	r := &g.relief
	if !r.trying || began.Before(r.tried) {
		return
	}
	g.pool.log.Info("function is back in its own sandbox", "function", g.key.ref.String(),
		"sandbox", g.rev.Function.Sandbox, "after", now.Sub(r.since).Round(time.Millisecond).String())
	g.relief = relief{strikes: strikeLimit - 1, struck: now, reason: r.reason, pause: r.pause}
	g.arm(now, now.Add(strikeMemory+time.Second))
}

// A failedStart marks an error that tells of a function which can't start in
// its sandbox: another one may serve it.
type failedStart struct{ error }

func (e *failedStart) Unwrap() error { return e.error }
