package node

import (
	"context"
	"log/slog"
	"sync"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/launch"
)

// preparer has the artifacts of new revisions made before they are asked
// for, one after the other so that requests keep the processors.
type preparer struct {
	launcher *launch.Launcher
	logger   *slog.Logger
	wake     chan struct{}

	mu      sync.Mutex
	pending []*faas.Revision
	seen    map[string]bool // digests that have been tried
}

func newPreparer(l *launch.Launcher, logger *slog.Logger) *preparer {
	return &preparer{launcher: l, logger: logger, wake: make(chan struct{}, 1), seen: map[string]bool{}}
}

// set declares what is current. It does not block.
func (p *preparer) set(current []*faas.Revision) {
	p.mu.Lock()
	p.pending = p.pending[:0]
	seen := make(map[string]bool, len(current))
	for _, rev := range current {
		if p.seen[rev.Digest] {
			seen[rev.Digest] = true
		} else {
			p.pending = append(p.pending, rev)
		}
	}
	p.seen = seen
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *preparer) next() *faas.Revision {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pending) == 0 {
		return nil
	}
	rev := p.pending[0]
	p.pending = p.pending[1:]
	p.seen[rev.Digest] = true
	return rev
}

// run works until ctx is done.
func (p *preparer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		for rev := p.next(); rev != nil && ctx.Err() == nil; rev = p.next() {
			p.prepare(ctx, rev)
		}
	}
}

// prepare makes what a revision and its fallback need. A failure is told to
// whoever invokes the function, and is only worth a note here; that of a fallback
// nobody would hear of until it is needed.
func (p *preparer) prepare(ctx context.Context, rev *faas.Revision) {
	name := rev.Function.Ref.String()
	if err := p.launcher.Prepare(ctx, rev); err != nil {
		p.logger.Debug("cannot prepare ahead", "function", name, "err", err)
	}
	if rev.Fallback == nil {
		return
	}
	if err := p.launcher.Prepare(ctx, rev.Fallback); err != nil && ctx.Err() == nil {
		p.logger.Warn("function has no fallback: it does not work here", "function", name, "fallback", rev.Fallback.Function.Sandbox, "err", err)
	}
}
