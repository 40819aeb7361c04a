package pool

import (
	"context"
	"errors"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// A start is one call of the launcher in progress.
type start struct {
	began    time.Time
	failures int // the group's, when it began
	cancel   context.CancelFunc
	canceled bool // nobody wants it any more; guarded by group.mu
	need     int64
	placed   bool // it holds a place; guarded by Pool.mu
}

// begin starts an instance of g, with Pool.mu held, unless g has been closed
// or its waiting requests have gone since it was asked.
func (p *Pool) begin(g *group, pr priority, need int64) bool {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.wants(pr, now) <= 0 {
		return false
	}
	ctx, cancel := p.startContext(g.rev)
	s := &start{began: now, failures: g.backoff.failures, cancel: cancel, need: need, placed: true}
	g.starts = append(g.starts, s)
	p.schedule.running++
	p.schedule.placed++
	p.schedule.pending += need
	p.work.add()
	go p.runStart(ctx, g, s)
	return true
}

func (p *Pool) startContext(rev *faas.Revision) (context.Context, context.CancelFunc) {
	if d := rev.Function.StartTimeout; d > 0 {
		return context.WithTimeout(p.base, d)
	}
	return context.WithCancel(p.base)
}

func (p *Pool) runStart(ctx context.Context, g *group, s *start) {
	defer p.work.done()
	defer s.cancel()
	overdue := time.AfterFunc(placeHeld, func() { p.yield(s) })
	defer overdue.Stop()
	inst, err := p.opts.Launcher.Launch(ctx, g.rev)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = &faas.Error{Kind: faas.KindTimeout, Err: err, Message: "it was not ready within " + g.rev.Function.StartTimeout.String()}
	}
	took := time.Since(s.began)
	var i *instance
	if err == nil {
		p.metrics.started(g.key.ref, took)
		i = p.ready(g, s, inst)
	} else {
		p.failed(g, s, err)
	}
	p.mu.Lock()
	p.schedule.running--
	p.free(s)
	p.schedule.pending -= s.need
	p.mu.Unlock()
	p.kick(g)
	if i != nil {
		p.measure(i) // early, for the estimate of the next start
	}
	p.drop(g)
}

// ready makes inst serve whoever waits.
func (p *Pool) ready(g *group, s *start, inst sandbox.Instance) *instance {
	g.mu.Lock()
	g.endStart(s)
	g.backoff.started()
	g.owed = max(0, g.owed-1)
	now := time.Now()
	i := newInstance(g, inst, now)
	g.recover(now)
	fx := p.enter(g, i, true)
	g.mu.Unlock()
	p.watch(i)
	p.apply(g, fx)
	return i
}

// enter adds an instance to g, with g.mu held.
func (p *Pool) enter(g *group, i *instance, cold bool) (fx effects) {
	g.instances = append(g.instances, i)
	if g.closed {
		g.beginStop(i, &fx)
	} else {
		g.settle(i, cold, &fx)
	}
	p.alive.Add(1)
	p.work.add() // until it has been stopped
	return fx
}

// failed notes the failure of a start and answers the requests that now wait
// for nothing. A start that was canceled is nobody's failure.
func (p *Pool) failed(g *group, s *start, err error) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.endStart(s)
	if s.canceled || g.closed {
		p.metrics.startEnded(g.key.ref, "canceled")
		return
	}
	p.metrics.startEnded(g.key.ref, startKind(err).String())
	g.history.startFailed(now, g.rev, err)
	g.owed = 0                            // what does not start makes up for nothing
	if s.failures == g.backoff.failures { // starts that fail side by side are one failure
		g.backoff.fail(now, err)
		g.strike(now, s.began, reason(err))
	}
	if g.backoff.active(now) {
		g.arm(now, g.backoff.until)
	}
	g.failIfHopeless(now)
	// The whole of it: what waiting requests are told is short. The back-off
	// bounds how often.
	p.log.Warn("instance did not start", "function", g.key.ref.String(), "failures", g.backoff.failures, "err", err)
}

func (g *group) endStart(s *start) {
	for n, other := range g.starts {
		if other == s {
			g.starts = append(g.starts[:n], g.starts[n+1:]...)
			return
		}
	}
}

// watch notices when i ends by itself.
func (p *Pool) watch(i *instance) {
	p.work.add()
	go func() {
		defer p.work.done()
		select {
		case <-i.sandbox.Done():
			p.ended(i)
		case <-i.gone:
		}
	}()
}

// ended takes an instance whose function has ended out of service. One that
// ended before it proved itself counts as a failed start, or a function
// that is kept warm would be started in a tight loop.
func (p *Pool) ended(i *instance) {
	exit := i.sandbox.Wait()
	now := time.Now()
	g := i.group
	var fx effects
	g.mu.Lock()
	if i.stopping {
		g.mu.Unlock()
		return
	}
	i.mourned = true
	g.history.exited(now, i.sandbox.ID(), g.rev, exit.String())
	if !i.proved() && i.inFlight == 0 && !i.spent {
		g.diedIdle(now, now.Sub(i.created), errors.New(exit.String()))
	}
	if !i.broke { // that was counted
		g.strike(now, i.created, exit.String())
	}
	g.lose(i, now)
	g.beginStop(i, &fx)
	g.failIfHopeless(now)
	g.mu.Unlock()
	p.log.Warn("instance ended by itself", "function", g.key.ref.String(), "instance", i.sandbox.ID(), "reason", exit.String())
	p.apply(g, fx)
}

// diedIdle notes that an instance was lost, for the cause, before it served a
// request.
func (g *group) diedIdle(now time.Time, age time.Duration, cause error) {
	if age >= backoffLimit {
		g.backoff.reset()
	}
	g.backoff.fail(now, faas.Errorf(faas.KindBroken, "its instance ended before it served a request: %w", cause))
	g.arm(now, g.backoff.until)
}
