package pool

import (
	"sync"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// An index knows which groups exist, what is deployed, and what is worth
// remembering of functions of which nothing runs.
type index struct {
	mu        sync.RWMutex
	groups    map[groupKey]*group
	histories map[faas.Ref]*history
	current   map[faas.Ref]*faas.Revision // nil until SetRevisions is called
	closed    bool
}

func (x *index) init() {
	x.groups = make(map[groupKey]*group)
	x.histories = make(map[faas.Ref]*history)
}

func (x *index) lookup(key groupKey) *group {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.groups[key]
}

// create returns rev's group, made unless another call was faster.
func (x *index) create(p *Pool, rev *faas.Revision) *group {
	estimate := p.opts.estimate(rev)
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.createLocked(p, rev, estimate)
}

// createLocked is given the estimate: whoever makes it may take time, which
// nobody must spend under a lock that every request needs.
func (x *index) createLocked(p *Pool, rev *faas.Revision, estimate int64) *group {
	key := keyOf(rev)
	if g := x.groups[key]; g != nil {
		return g
	}
	h := x.histories[key.ref]
	if h == nil {
		h = new(history)
		x.histories[key.ref] = h
	}
	g := &group{pool: p, key: key, rev: rev, capacity: max(1, rev.Function.Concurrency), history: h}
	if rev.Function.SingleUse != faas.Reuse {
		g.capacity = 1
	}
	g.waitSeconds = p.metrics.waitSeconds.WithLabelValues(key.ref.String())
	g.onTimer = func() { p.tick(g) }
	g.closed = x.closed
	g.draining, g.standIn = x.role(key)
	if bytes, ok := h.remembered(key.digest); ok {
		g.footprint.set(bytes, true)
	} else {
		g.footprint.set(estimate, false)
	}
	x.groups[key] = g
	return g
}

// role says what a revision is to its function: deployed, what stands in for
// that, or to be drained. Until it is known what is deployed, everything is
// taken to be: a recovered instance may be adopted before.
func (x *index) role(key groupKey) (draining, standIn bool) {
	if x.current == nil {
		return false, false
	}
	rev := x.current[key.ref]
	switch {
	case rev == nil:
		return true, false
	case rev.Digest == key.digest:
		return false, false
	}
	standIn = rev.Fallback != nil && rev.Fallback.Digest == key.digest
	return !standIn, standIn
}

func (x *index) all() []*group {
	x.mu.RLock()
	defer x.mu.RUnlock()
	all := make([]*group, 0, len(x.groups))
	for _, g := range x.groups {
		all = append(all, g)
	}
	return all
}

// drop forgets g if there is nothing left in it.
func (p *Pool) drop(g *group) {
	g.mu.Lock()
	keep := g.dead || !g.empty(time.Now())
	g.mu.Unlock()
	if keep { // without a lock that every request needs
		return
	}
	x := &p.index
	x.mu.Lock()
	defer x.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead || !g.empty(time.Now()) {
		return
	}
	g.dead = true
	if g.timer != nil {
		g.timer.Stop()
	}
	delete(x.groups, g.key)
	g.history.remember(g.key.digest, g.footprint.measurement())
	if x.current != nil && x.current[g.key.ref] == nil {
		x.forget(p, g.key.ref)
	}
}

// forget drops what is remembered of a function that is no longer deployed,
// unless instances of it still run.
func (x *index) forget(p *Pool, ref faas.Ref) {
	for key := range x.groups {
		if key.ref == ref {
			return
		}
	}
	delete(x.histories, ref)
	p.metrics.forget(ref)
}
