package pool

import "time"

// arm makes the group's only timer fire at or before at. A timer that fires
// early looks again, so that a busy function does not touch it per request.
func (g *group) arm(now, at time.Time) {
	if !g.timerAt.IsZero() && !at.Before(g.timerAt) {
		return
	}
	g.timerAt = at
	if g.timer == nil {
		g.timer = time.AfterFunc(at.Sub(now), g.onTimer)
		return
	}
	g.timer.Reset(at.Sub(now))
}

// tick stops what has been idle for too long, ends the back-off that is over
// and arms the timer for whatever comes next.
func (g *group) tick(now time.Time) (fx effects) {
	g.timerAt = time.Time{}
	if g.dead || g.closed {
		return fx
	}
	g.expire(now, &fx)
	switch b := &g.backoff; {
	case b.active(now):
		g.arm(now, b.until)
	case b.failures > 0:
		fx.kick = true
		if forget := b.until.Add(backoffLimit); now.Before(forget) {
			g.arm(now, forget)
		}
	}
	fx.kick = g.retry(now) || fx.kick
	fx.empty = g.empty(now)
	return fx
}

// expire stops instances whose keepalive has ended, the one idle longest
// first, down to the function's minimum; used-up ones don't count towards it.
func (g *group) expire(now time.Time, fx *effects) {
	for {
		i := g.longestIdle(g.surplus() <= 0)
		if i == nil {
			return
		}
		if end := i.idleSince.Add(g.rev.Function.Keepalive); now.Before(end) {
			g.arm(now, end)
			return
		}
		g.beginStop(i, fx)
	}
}

// longestIdle returns the instance that has been idle longest.
func (g *group) longestIdle(spentOnly bool) (oldest *instance) {
	for _, i := range g.instances {
		if !i.idle() || spentOnly && !i.spent {
			continue
		}
		if oldest == nil || i.idleSince.Before(oldest.idleSince) {
			oldest = i
		}
	}
	return oldest
}

func (p *Pool) tick(g *group) {
	g.mu.Lock()
	fx := g.tick(time.Now())
	g.mu.Unlock()
	p.apply(g, fx)
}
