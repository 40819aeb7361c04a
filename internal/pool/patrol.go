package pool

import (
	"context"
	"time"

	"github.com/unifaas/unifaas/internal/sandbox"
)

// statsTimeout bounds one measurement.
const statsTimeout = time.Second

// patrol visits each instance that list returns about once in every period,
// spread over it, until the pool stops, and one after gap at the soonest: the
// period grows with their number. With nothing to visit it only wakes up once
// per period.
func (p *Pool) patrol(every, gap time.Duration, list func() []*instance, visit func(*instance)) {
	defer p.work.done()
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		round := list()
		for n := range max(1, len(round)) {
			timer.Reset(max(gap, every/time.Duration(max(1, len(round)))))
			select {
			case <-timer.C:
			case <-p.life.Done():
				return
			}
			if n < len(round) {
				visit(round[n])
			}
		}
	}
}

// collect returns the instances for which keep, called with their group's
// mutex held, returns true.
func (p *Pool) collect(keep func(*instance) bool) (kept []*instance) {
	for _, g := range p.index.all() {
		g.mu.Lock()
		for _, i := range g.instances {
			if keep(i) {
				kept = append(kept, i)
			}
		}
		g.mu.Unlock()
	}
	return kept
}

func (p *Pool) measured() []*instance {
	return p.collect(func(i *instance) bool {
		_, ok := i.sandbox.(sandbox.Statser)
		return ok && !i.stopping
	})
}

// measure notes what i takes. A measurement that fails leaves the last one
// standing: the instance may just be going.
func (p *Pool) measure(i *instance) {
	s, ok := i.sandbox.(sandbox.Statser)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(p.base, statsTimeout)
	defer cancel()
	stats, err := s.Stats(ctx)
	if err != nil || stats.Memory <= 0 {
		return
	}
	i.memory.Store(stats.Memory)
	i.group.footprint.observe(stats.Memory)
}
