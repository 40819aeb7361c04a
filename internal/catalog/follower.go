package catalog

import (
	"context"
	"errors"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// function is the state of one function. Only the follower's loop touches it.
type function struct {
	entry      Entry
	generation uint64 // of entry
	status     *Status
	working    bool          // a resolve is under way, perhaps of an older entry
	waiting    bool          // it waits for its turn
	backoff    time.Duration // before the next attempt
	retry      *time.Timer   // nil when none is set
}

// result is the end of one resolve.
type result struct {
	function   *function
	generation uint64
	revision   *faas.Revision
	err        error
	retry      bool // not a result: the time of another attempt has come
}

// A follower applies updates and results. One goroutine runs it; resolves run
// in others and come back by the channel of results.
type follower struct {
	c          *Catalog
	functions  map[faas.Ref]*function
	generation uint64
	waiting    []*function // for one of those that work to end
	working    int         // resolves under way
	complete   bool        // the source's first listing is in
	ready      bool
	changed    bool // since the last snapshot
	published  time.Time
	late       *time.Timer // fires when a change has waited long enough
}

// publishEvery bounds how often snapshots are made while many functions
// change: each costs time and memory for all of them.
const publishEvery = 50 * time.Millisecond

func newFollower(c *Catalog) *follower {
	late := time.NewTimer(publishEvery)
	late.Stop()
	return &follower{c: c, functions: map[faas.Ref]*function{}, late: late}
}

func (f *follower) run(ctx context.Context) {
	defer f.drain()
	for {
		select {
		case <-ctx.Done():
			return
		case u := <-f.c.updates:
			f.update(ctx, u)
		case r := <-f.c.results:
			f.result(ctx, r)
		case <-f.late.C:
		}
		f.takeResults(ctx)
		f.resolveWaiting(ctx)
		f.publish()
	}
}

// takeResults takes what else is there, so that many changes at once become
// one snapshot.
func (f *follower) takeResults(ctx context.Context) {
	for {
		select {
		case r := <-f.c.results:
			f.result(ctx, r)
		default:
			return
		}
	}
}

// drain waits for resolves under way; their results are for nobody.
func (f *follower) drain() {
	f.late.Stop()
	for _, fn := range f.functions {
		if fn.retry != nil {
			fn.retry.Stop()
		}
	}
	for f.working > 0 {
		if r := <-f.c.results; !r.retry {
			f.working--
		}
	}
}

func (f *follower) update(ctx context.Context, u Update) {
	for _, ref := range u.Removed {
		if fn, ok := f.functions[ref]; ok {
			fn.cancelRetry()
			delete(f.functions, ref)
			f.changed = true
			f.c.opts.Logger.Info("function removed", "function", ref.String())
		}
	}
	for _, e := range u.Changed {
		f.entry(ctx, e)
	}
	f.complete = f.complete || u.Complete
}

func (f *follower) entry(ctx context.Context, e Entry) {
	if e.Err == nil && e.Function == nil {
		e.Err = errNoFunction
	}
	fn, ok := f.functions[e.Ref]
	if !ok {
		fn = &function{}
		f.functions[e.Ref] = fn
	}
	f.generation++
	fn.entry, fn.generation, fn.backoff = e, f.generation, 0
	fn.cancelRetry()
	if e.Err != nil {
		f.setError(fn, e.Err)
		return
	}
	f.resolve(ctx, fn)
}

// resolve begins to resolve fn's entry, or has it wait for its turn. When an
// older entry is under way, its end begins it.
func (f *follower) resolve(ctx context.Context, fn *function) {
	switch {
	case fn.working || fn.waiting:
	case f.working >= f.c.opts.Parallel:
		fn.waiting = true
		f.waiting = append(f.waiting, fn)
	default:
		fn.working = true
		f.working++
		entry, generation := fn.entry, fn.generation
		go func() {
			r := result{function: fn, generation: generation}
			r.revision, r.err = f.bind(ctx, entry.Function)
			f.c.results <- r
		}()
	}
}

// resolveWaiting begins what has been waiting, as far as there is room.
func (f *follower) resolveWaiting(ctx context.Context) {
	for len(f.waiting) > 0 && f.working < f.c.opts.Parallel {
		fn := f.waiting[0]
		f.waiting = f.waiting[1:]
		fn.waiting = false
		// It may have been removed, or become broken, while it waited.
		if f.functions[fn.entry.Ref] == fn && fn.entry.Err == nil {
			f.resolve(ctx, fn)
		}
	}
}

func (f *follower) bind(ctx context.Context, fn *faas.Function) (*faas.Revision, error) {
	img, err := f.c.opts.Images.Resolve(ctx, fn)
	if err != nil {
		return nil, err
	}
	return NewRevision(fn, img)
}

func (f *follower) result(ctx context.Context, r result) {
	fn := r.function
	// It may have been removed since, and added again as another.
	current := f.functions[fn.entry.Ref] == fn
	if r.retry {
		if current && fn.generation == r.generation {
			f.resolve(ctx, fn)
		}
		return
	}
	f.working--
	fn.working = false
	if !current {
		return
	}
	switch {
	case fn.generation != r.generation:
		if fn.entry.Err == nil {
			f.resolve(ctx, fn)
		}
	case errors.Is(r.err, context.Canceled) && ctx.Err() != nil:
	case r.err != nil:
		f.setError(fn, r.err)
		f.scheduleRetry(ctx, fn, r.err)
	default:
		f.setRevision(fn, r.revision)
	}
}

func (f *follower) setError(fn *function, err error) {
	f.c.metrics.loads.WithLabelValues("error").Inc()
	status := fn.newStatus()
	status.Err = err
	if fn.status != nil {
		status.Revision = fn.status.Revision
		if fn.status.Err != nil && fn.status.Err.Error() == err.Error() && fn.status.sameOrigin(status) {
			return // an attempt more with the same end is no news
		}
	}
	fn.status, f.changed = status, true
	f.c.opts.Logger.Warn("function can't be loaded", "function", fn.entry.Ref.String(),
		"serving", revisionID(status.Revision), "err", err)
}

func (f *follower) setRevision(fn *function, rev *faas.Revision) {
	f.c.metrics.loads.WithLabelValues("ok").Inc()
	if old := fn.status; old != nil && old.Revision != nil && old.Revision.Digest == rev.Digest {
		if old.Err == nil && old.sameOrigin(fn.newStatus()) {
			return
		}
		// Whoever holds instances of it goes on with the same pointer.
		rev = old.Revision
	}
	fn.status = fn.newStatus()
	fn.status.Revision = rev
	fn.backoff, f.changed = 0, true
	f.c.opts.Logger.Info("function loaded", "function", fn.entry.Ref.String(), "revision", rev.ID())
}

// newStatus returns the status of fn's entry without an outcome.
func (fn *function) newStatus() *Status {
	return &Status{Ref: fn.entry.Ref, Origin: fn.entry.Origin, Conflict: fn.entry.Conflict, Loaded: time.Now()}
}

// sameOrigin reports whether both come from the same place and have, or have
// not, the same conflict.
func (s *Status) sameOrigin(other *Status) bool {
	return s.Origin == other.Origin && (s.Conflict == nil) == (other.Conflict == nil)
}

func revisionID(rev *faas.Revision) string {
	if rev == nil {
		return "none"
	}
	return rev.ID()
}

func (f *follower) scheduleRetry(ctx context.Context, fn *function, err error) {
	if !retryable(err) {
		return
	}
	fn.backoff = min(max(2*fn.backoff, f.c.opts.RetryMin), f.c.opts.RetryMax)
	r := result{function: fn, generation: fn.generation, retry: true}
	fn.retry = time.AfterFunc(fn.backoff, func() {
		select {
		case f.c.results <- r:
		case <-ctx.Done():
		}
	})
}

func (fn *function) cancelRetry() {
	if fn.retry != nil {
		fn.retry.Stop()
		fn.retry = nil
	}
}

// publish makes a snapshot when something has changed. The first one comes
// when the first listing has been resolved.
func (f *follower) publish() {
	busy := f.working+len(f.waiting) > 0
	if !f.ready {
		if !f.complete || busy {
			return
		}
		f.ready, f.changed = true, true
		defer close(f.c.ready)
	}
	if !f.changed {
		return
	}
	if age := time.Since(f.published); busy && age < publishEvery {
		f.late.Reset(publishEvery - age)
		return
	}
	f.changed, f.published = false, time.Now()
	f.c.publish(newSnapshot(f.functions))
}
