package catalog

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/unifaas/unifaas/internal/faas"
)

// Options configure a [Catalog].
type Options struct {
	Source     Source                // required
	Images     Images                // required
	Logger     *slog.Logger          // default: discard
	Registerer prometheus.Registerer // default: not registered
	// Parallel bounds how many images are resolved at the same time; default:
	// twice the processors.
	Parallel int
	// RetryMin and RetryMax bound the time between attempts to resolve an
	// image that a passing fault stood against; default 500 ms and 1 min.
	RetryMin, RetryMax time.Duration
}

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Parallel <= 0 {
		o.Parallel = 2 * runtime.GOMAXPROCS(0)
	}
	if o.RetryMin <= 0 {
		o.RetryMin = 500 * time.Millisecond
	}
	if o.RetryMax <= 0 {
		o.RetryMax = time.Minute
	}
}

// A Catalog holds the functions of a [Source], bound to their images. Its
// methods may be called concurrently.
type Catalog struct {
	opts    Options
	metrics *metrics
	current atomic.Pointer[Snapshot]

	updates chan Update
	results chan result
	ready   chan struct{} // closed when the first listing has been resolved
	stop    context.CancelFunc
	done    sync.WaitGroup

	mu       sync.Mutex // guards failure and watchers, and orders notifications
	failure  error      // why the source ended
	watchers []func(*Snapshot)
}

// New returns a catalog that is empty until it is started.
func New(opts Options) *Catalog {
	opts.setDefaults()
	c := &Catalog{
		opts:    opts,
		metrics: newMetrics(opts.Registerer),
		updates: make(chan Update),
		results: make(chan result),
		ready:   make(chan struct{}),
	}
	c.current.Store(newSnapshot(nil))
	return c
}

// Start follows the source until [Catalog.Stop]. It returns when each
// function that exists has been tried once; the context bounds this wait
// only. It may be called once.
func (c *Catalog) Start(ctx context.Context) error {
	life, stop := context.WithCancel(context.Background())
	c.stop = stop
	failed := make(chan struct{})
	c.done.Go(func() {
		err := c.opts.Source.Watch(life, func(u Update) {
			select {
			case c.updates <- u:
			case <-life.Done():
			}
		})
		if err != nil {
			c.fail(err)
			close(failed)
		}
	})
	c.done.Go(func() { newFollower(c).run(life) })
	select {
	case <-c.ready:
		return nil
	case <-failed:
		c.Stop()
		return c.Err()
	case <-ctx.Done():
		c.Stop()
		return context.Cause(ctx)
	}
}

// Stop ends the catalog's work and waits for it. What was published stays.
// It is idempotent.
func (c *Catalog) Stop() {
	if c.stop != nil {
		c.stop()
	}
	c.done.Wait()
}

func (c *Catalog) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failure = err
}

// Err returns why the source ended by itself, nil while it lives.
func (c *Catalog) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}

// Snapshot returns the catalog as it is now. It never blocks.
func (c *Catalog) Snapshot() *Snapshot { return c.current.Load() }

// Lookup is [Snapshot.Lookup] of the current snapshot. It takes no lock.
func (c *Catalog) Lookup(name string) (*faas.Revision, error) {
	return c.current.Load().Lookup(name)
}

// Watch calls f with the current snapshot before it returns, and then with
// each new one, in order, one call at a time. f must not block for long and
// must not call Watch.
func (c *Catalog) Watch(f func(*Snapshot)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers = append(c.watchers, f)
	f(c.current.Load())
}

func (c *Catalog) publish(s *Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current.Store(s)
	c.metrics.count(s)
	for _, f := range c.watchers {
		f(s)
	}
}

// retryable reports whether an image may be had later without any change of
// the function.
func retryable(err error) bool {
	switch faas.KindOf(err) {
	case faas.KindBusy, faas.KindInternal, faas.KindTimeout:
		return true
	}
	return false
}

var errNoFunction = errors.New("the source delivered neither a function nor an error")
