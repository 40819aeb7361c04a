package pool

import (
	"time"
)

// starvedRetry is how often memory is looked at again while a start lacks it:
// others on the machine may have given some back.
const starvedRetry = time.Second

// placeHeld is how long a start holds its place at most. Places keep the
// processors from being shared among more starts than there are of them; a
// start that takes this long waits for something else, such as a function
// that never listens, and must not keep others waiting. It is longer than a
// start takes whose work is its own, so that a burst is not run more widely
// than the bound says.
const placeHeld = time.Second

// A schedule shares the places for starts among functions, in turn. It is
// guarded by Pool.mu.
type schedule struct {
	rings   [priorities][]*group // whose head is next
	running int                  // starts in progress
	placed  int                  // those of them that hold a place
	pending int64                // bytes they are expected to take
	retry   *time.Timer
}

// verdict says what became of a group's turn.
type verdict int

const (
	unwanted verdict = iota // it wants no start, or may not have one
	started
	noMemory
)

// kick tells the schedule that g may want starts.
func (p *Pool) kick(g *group) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.enlist(g)
	p.dispatch()
}

func (p *Pool) enlist(g *group) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	for pr := range priorities {
		if !g.listed[pr] && g.wants(pr, now) > 0 {
			g.listed[pr] = true
			p.schedule.rings[pr] = append(p.schedule.rings[pr], g)
		}
	}
}

// dispatch gives free places to the groups that want them. What is kept warm
// has its turn only when no waiting request could use the place.
func (p *Pool) dispatch() {
	p.starved.Store(p.turn(forRequests))
	short := p.starved.Load()
	if !short {
		short = p.turn(forMinimum)
	}
	if short {
		p.retryLater()
	}
}

// turn goes round one ring until the places or the wishes are exhausted, and
// reports whether some group lacks memory. Such a group keeps its turn, and
// what is being freed for it is not given to those behind it.
func (p *Pool) turn(pr priority) bool {
	s := &p.schedule
	var lacking []*group
	var held int64
	for s.placed < p.opts.StartParallelism && len(s.rings[pr]) > 0 {
		g := s.rings[pr][0]
		s.rings[pr] = s.rings[pr][1:]
		switch p.tryStart(g, pr, &held) {
		case started:
			s.rings[pr] = append(s.rings[pr], g)
		case noMemory:
			lacking = append(lacking, g)
		case unwanted:
			g.listed[pr] = false
		}
	}
	s.rings[pr] = append(lacking, s.rings[pr]...)
	return len(lacking) > 0
}

// tryStart starts one instance of g if g wants one and it fits.
func (p *Pool) tryStart(g *group, pr priority, held *int64) verdict {
	if !p.mayStart(g, pr) {
		return unwanted
	}
	need := g.footprint.estimate()
	switch p.admit(g, pr, need, held) {
	case refused:
		return unwanted
	case later:
		return noMemory
	}
	if !p.begin(g, pr, need) {
		return unwanted
	}
	return started
}

func (p *Pool) mayStart(g *group, pr priority) bool {
	var fx effects
	g.mu.Lock()
	wanted := g.wants(pr, time.Now()) > 0
	// What gives places back must not thereby get more of the machine than it
	// had with them: one function's starts are as bounded as all places are.
	place := len(g.starts) < p.opts.StartParallelism
	room := g.headroom() > 0
	if wanted && place && !room {
		g.makeRoom(pr, &fx)
	}
	g.mu.Unlock()
	for _, i := range fx.stop {
		p.stopInBackground(i)
	}
	return wanted && room && place
}

// yield takes s's place back, if it holds it still, for whoever wants one.
func (p *Pool) yield(s *start) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free(s) {
		p.dispatch()
	}
}

// free reports whether s held a place until now.
func (p *Pool) free(s *start) bool {
	if !s.placed {
		return false
	}
	s.placed = false
	p.schedule.placed--
	return true
}

func (p *Pool) retryLater() {
	again := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.schedule.retry = nil
		p.dispatch()
	}
	if p.schedule.retry == nil && !p.isStopping() {
		p.schedule.retry = time.AfterFunc(starvedRetry, again)
	}
}
