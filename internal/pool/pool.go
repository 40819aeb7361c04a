package pool

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// A Pool keeps the instances of all functions. Its methods may be called
// concurrently.
type Pool struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	index   index

	base     context.Context // ended when Stop runs out of time
	cancel   context.CancelFunc
	epoch    time.Time
	life     context.Context // ended when Stop begins
	endLife  context.CancelFunc
	shutOnce sync.Once
	work     tracker // every goroutine and every instance

	stopSlots chan struct{}
	stopping  atomic.Int64 // instances being stopped, without those whose stop failed
	freeing   atomic.Int64 // bytes they are expected to free
	alive     atomic.Int64 // instances not yet stopped for good
	starved   atomic.Bool  // a start for a waiting request lacks memory

	mu       sync.Mutex
	schedule schedule
}

// New returns a pool with nothing running. Stop it when done. It panics when
// Options.Launcher is nil or a metric is registered twice.
func New(opts Options) *Pool {
	opts = opts.withDefaults()
	p := &Pool{opts: opts, log: opts.Logger, epoch: time.Now()}
	p.base, p.cancel = context.WithCancel(context.Background())
	p.life, p.endLife = context.WithCancel(p.base)
	p.index.init()
	p.stopSlots = make(chan struct{}, opts.StopParallelism)
	p.metrics = newMetrics(p)
	p.work.add()
	go p.patrol(opts.MeasureEvery, 0, p.measured, p.measure)
	p.work.add()
	go p.patrol(opts.HealthEvery, checkGap, p.checked, p.check)
	return p
}

// now is time.Now for the hot path: it reads the monotonic clock only, which
// halves its cost.
func (p *Pool) now() time.Time { return p.epoch.Add(time.Since(p.epoch)) }

// TryAcquire returns a lease on a warm instance of rev, or of its fallback
// while rev keeps failing, that has room now. It never blocks on anything but
// a short critical section.
func (p *Pool) TryAcquire(rev *faas.Revision) (*Lease, bool) {
	g := p.index.lookup(keyOf(rev))
	if g == nil {
		return nil, false
	}
	var i *instance
	g.mu.Lock()
	relieved := rev.Fallback != nil && g.relieved(time.Now())
	if !relieved {
		i = g.take()
	}
	g.mu.Unlock()
	if relieved {
		lease, ok := p.TryAcquire(rev.Fallback)
		if ok {
			p.metrics.fellBack(rev.Function.Ref)
		}
		return lease, ok
	}
	if i == nil {
		return nil, false
	}
	return &Lease{pool: p, instance: i}, true
}

// Acquire returns a lease on an instance of rev, waiting in the function's
// queue for one to be free or to start. Its errors are of kind Busy (queue
// full, no room on the machine), Timeout, Broken or whatever kind the start
// failed with, Unavailable (the pool is stopping) or Canceled (ctx ended). A
// revision that is no longer current is served all the same: its request
// began while it was. Where rev has a fallback, that serves what rev can't
// start for.
func (p *Pool) Acquire(ctx context.Context, rev *faas.Revision) (*Lease, error) {
	lease, err := p.acquire(ctx, rev)
	var failed *failedStart
	if rev.Fallback == nil || !errors.As(err, &failed) {
		return lease, err
	}
	lease, err = p.acquire(ctx, rev.Fallback)
	if err == nil {
		p.metrics.fellBack(rev.Function.Ref)
	}
	return lease, err
}

// acquire is [Pool.Acquire] without the fallback.
func (p *Pool) acquire(ctx context.Context, rev *faas.Revision) (*Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, errLeft(rev.Function.Ref, err)
	}
	g := p.lock(rev)
	now := time.Now()
	err := g.refusal(now)
	if err == nil {
		if i := g.take(); i != nil {
			g.mu.Unlock()
			return &Lease{pool: p, instance: i}, nil
		}
		err = g.crowded(now)
	}
	if err != nil {
		g.mu.Unlock()
		p.drop(g)
		return nil, err
	}
	w := newWaiter(now)
	g.waiters.push(w)
	g.mu.Unlock()
	p.kick(g)
	lease, err := p.await(ctx, g, w)
	if err != nil {
		p.drop(g)
	}
	g.waitSeconds.Observe(time.Since(w.since).Seconds())
	return lease, err
}

// lock returns rev's group, made if need be, with its mutex held.
func (p *Pool) lock(rev *faas.Revision) *group {
	for {
		g := p.index.lookup(keyOf(rev))
		if g == nil {
			g = p.index.create(p, rev)
		}
		g.mu.Lock()
		if !g.dead {
			return g
		}
		g.mu.Unlock()
	}
}

// refusal says why no request is served here; nil when they are.
func (g *group) refusal(now time.Time) error {
	switch {
	case g.closed:
		return errStopping(g.key.ref)
	case g.relieved(now):
		return g.errRelieved(now)
	}
	return nil
}

// crowded says why a request that finds no room can't wait; nil when it can.
func (g *group) crowded(now time.Time) error {
	switch {
	case g.hopeless(now):
		return errStart(g.key.ref, g.backoff.err, g.backoff.until.Sub(now))
	case g.waiters.n >= g.rev.Function.Queue:
		return errQueueFull(g.key.ref, g.waiters.n)
	}
	return nil
}

// await blocks until w is answered or leaves.
func (p *Pool) await(ctx context.Context, g *group, w *waiter) (*Lease, error) {
	timer := time.NewTimer(p.opts.QueueTimeout)
	defer timer.Stop()
	var left error
	select {
	case o := <-w.result:
		return o.lease, o.err
	case <-ctx.Done():
		left = errLeft(g.key.ref, ctx.Err())
	case <-timer.C:
		left = errQueueTimeout(g.key.ref, p.opts.QueueTimeout)
	}
	if p.leave(g, w) {
		return nil, left
	}
	// The answer came at the same moment.
	o := <-w.result
	if o.lease == nil || ctx.Err() == nil {
		return o.lease, o.err
	}
	p.untake(o.lease)
	return nil, left
}

// leave takes w out of the queue; false means that it has been answered.
func (p *Pool) leave(g *group, w *waiter) bool {
	g.mu.Lock()
	queued := w.queued
	if queued {
		g.waiters.remove(w)
		g.shed()
	}
	g.mu.Unlock()
	return queued
}

func (p *Pool) untake(l *Lease) {
	l.released.Store(true)
	g := l.instance.group
	g.mu.Lock()
	fx := g.untake(l.instance, l.cold)
	g.mu.Unlock()
	p.apply(g, fx)
}

// apply does what g asked for while its mutex was held.
func (p *Pool) apply(g *group, fx effects) {
	for _, i := range fx.stop {
		p.stopInBackground(i)
	}
	switch {
	case fx.kick:
		p.kick(g)
	case fx.idle && p.starved.Load():
		p.kick(g)
	}
	if fx.empty {
		p.drop(g)
	}
}
