package vm

import (
	"sync"
	"time"

	"github.com/unifaas/unifaas/internal/guest/linux/wire"
)

// bootPhases are the phases of a guest's start by the guest's own clock, which
// begins with its kernel. When the last one was heard of is known by ours, so
// that all of them are.
type bootPhases struct {
	mu    sync.Mutex
	all   []wire.Phase
	heard time.Time // the last
	since time.Time // the end of what was before
}

// note takes a phase.
func (b *bootPhases) note(p wire.Phase) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all, b.heard = append(b.all, p), time.Now()
}

// tell tells trace of the phases, in their order.
func (b *bootPhases) tell(trace func(phase string, at time.Time)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if trace == nil || len(b.all) == 0 {
		return
	}
	last := b.all[len(b.all)-1]
	for _, p := range b.all {
		// The two clocks need not run at the same rate, and nothing has begun
		// before the one before it has ended.
		at := b.heard.Add(-time.Duration(last.NS - p.NS))
		if at.Before(b.since) {
			at = b.since
		}
		b.since = at
		trace("guest "+p.Name, at)
	}
}
