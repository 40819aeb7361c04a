package pool

import (
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// SetRevisions says what is deployed now, one revision per function. Other
// revisions drain: their idle instances are stopped at once, the others when
// their requests, waiting ones included, are done. Minimum instances are
// started for the current ones. The pool keeps the revisions, not the slice.
func (p *Pool) SetRevisions(current []*faas.Revision) {
	next := make(map[faas.Ref]*faas.Revision, len(current))
	for _, rev := range current {
		next[rev.Function.Ref] = rev
	}
	for g, fx := range p.redeploy(next) {
		p.apply(g, fx)
	}
}

// redeploy replaces what is current and returns what follows for each group.
func (p *Pool) redeploy(next map[faas.Ref]*faas.Revision) map[*group]effects {
	warm := make(map[*faas.Revision]int64) // what is kept warm, with its estimates
	for _, rev := range next {
		if rev.Function.MinInstances > 0 {
			warm[rev] = p.opts.estimate(rev)
		}
	}
	x := &p.index
	x.mu.Lock()
	defer x.mu.Unlock()
	x.current = next
	for rev, estimate := range warm {
		x.createLocked(p, rev, estimate)
	}
	changes := make(map[*group]effects, len(x.groups))
	for key, g := range x.groups {
		changes[g] = g.play(x.role(key))
	}
	for ref := range x.histories {
		if next[ref] == nil {
			x.forget(p, ref)
		}
	}
	return changes
}

// play gives g its role.
func (g *group) play(draining, standIn bool) (fx effects) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.draining, g.standIn = draining, standIn
	if !draining {
		fx.kick = g.rev.Function.MinInstances > 0
		return fx
	}
	g.owed, g.spare, g.relief = 0, 0, relief{}
	for _, i := range g.instances {
		if i.idle() {
			g.beginStop(i, &fx)
		}
	}
	g.shed() // starts that only the minimum wanted
	fx.empty = true
	return fx
}

// Adopt adds an instance that outlived an earlier run of the platform. It
// serves as if it had been started now; the pool owns it from here on. It is
// stopped when its revision is not current, and, since it may have been used
// already, when it is single-use: at once, or at the end of its keepalive if
// that is how its function wants it. Before the first SetRevisions every
// revision counts as current.
func (p *Pool) Adopt(rev *faas.Revision, inst sandbox.Instance) { p.add(rev, inst, true) }

// Admit adds an instance that was started elsewhere just now and has served nothing.
// It is as Adopt otherwise.
func (p *Pool) Admit(rev *faas.Revision, inst sandbox.Instance) { p.add(rev, inst, false) }

func (p *Pool) add(rev *faas.Revision, inst sandbox.Instance, adopted bool) {
	g := p.lock(rev)
	i := newInstance(g, inst, time.Now())
	i.adopted, i.spent = adopted, rev.Function.SingleUse != faas.Reuse
	fx := p.enter(g, i, false)
	g.mu.Unlock()
	p.watch(i)
	p.apply(g, fx)
}

// Revisions returns the revisions of which an instance lives or starts, or
// that a request waits for: what they are made of is still needed, deployed or
// not.
func (p *Pool) Revisions() []*faas.Revision {
	var needed []*faas.Revision
	for _, g := range p.index.all() {
		g.mu.Lock()
		if len(g.instances)+len(g.starts)+g.waiters.n > 0 {
			needed = append(needed, g.rev)
		}
		g.mu.Unlock()
	}
	return needed
}
