package pool

import (
	"slices"
	"time"
)

// An admission is the answer to whether a start fits into memory.
type admission int

const (
	admitted admission = iota
	later              // not now; something that runs may make room
	refused            // nothing that the pool could do makes room; waiters have been told
)

// admit decides whether a start that takes need bytes fits. If not, it stops
// idle instances of any function, the least recently used first, provided
// that this makes it fit. held is what groups earlier in the turn wait for.
func (p *Pool) admit(g *group, pr priority, need int64, held *int64) admission {
	if p.opts.Memory == nil {
		return admitted
	}
	available, err := p.opts.Memory.Available()
	if err != nil {
		p.log.Warn("can't tell how much memory is available; starting without", "err", err)
		return admitted
	}
	free := available - p.opts.Reserve - p.schedule.pending - *held
	if need <= free {
		return admitted
	}
	if pr != forRequests {
		return later
	}
	lacking := need - free - p.freeing.Load()
	if lacking > 0 {
		var found idleness
		p.survey(&found)
		if found.bytes < lacking {
			if found.busy || p.schedule.running > 0 || p.stopping.Load() > 0 {
				return later
			}
			return p.refuse(g, need, available)
		}
		p.evict(found.candidates, lacking)
	}
	*held += need
	return later
}

// refuse tells g's waiting requests that nothing will make room for them.
func (p *Pool) refuse(g *group, need, available int64) admission {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failWaiters(errNoMemory(g.key.ref, need, available, p.opts.Reserve))
	return refused
}

// idleness is what a survey of all groups finds.
type idleness struct {
	candidates []candidate
	bytes      int64 // what stopping all of them would free
	busy       bool  // some instance serves a request
}

// A candidate is an instance that was idle, above its function's minimum.
type candidate struct {
	instance *instance
	since    time.Time
}

func (p *Pool) survey(found *idleness) {
	for _, g := range p.index.all() {
		g.mu.Lock()
		surplus := g.surplus()
		for _, i := range byIdleTime(g.instances) {
			found.busy = found.busy || i.inFlight > 0
			if !i.idle() || i.able() && surplus <= 0 {
				continue
			}
			if i.able() {
				surplus--
			}
			found.candidates = append(found.candidates, candidate{instance: i, since: i.idleSince})
			found.bytes += i.footprint()
		}
		g.mu.Unlock()
	}
}

func byIdleTime(instances []*instance) []*instance {
	sorted := slices.Clone(instances)
	slices.SortStableFunc(sorted, func(a, b *instance) int { return a.idleSince.Compare(b.idleSince) })
	return sorted
}

// evict stops the least recently used candidates that free enough bytes,
// leaving out those that have been used meanwhile.
func (p *Pool) evict(candidates []candidate, lacking int64) {
	slices.SortStableFunc(candidates, func(a, b candidate) int { return a.since.Compare(b.since) })
	for _, c := range candidates {
		if lacking <= 0 {
			return
		}
		var fx effects
		g := c.instance.group
		g.mu.Lock()
		if c.instance.idle() && c.instance.idleSince.Equal(c.since) {
			g.beginStop(c.instance, &fx)
		}
		g.mu.Unlock()
		for _, i := range fx.stop {
			lacking -= i.footprint()
			p.stopInBackground(i)
		}
	}
}
