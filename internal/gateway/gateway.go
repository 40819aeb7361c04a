package gateway

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/http1"
)

// A Gateway serves invocations over HTTP/1.1. Make one with [New].
type Gateway struct {
	opts    Options
	limits  http1.Limits
	ln      net.Listener
	door    *sock // what ln is, to a loop; nil when it is none of the kernel's
	metrics *metrics
	buffers sync.Pool // of *scratch
	base    context.Context
	cancel  context.CancelFunc

	loops    []*loop
	tick     atomic.Int64 // see sweeper.advance
	draining atomic.Bool
	pressed  atomic.Bool // file descriptors or connections have run out
	made     time.Time
	faulted  atomic.Int64 // when a fault was last logged, since made; 0 is never

	mu        sync.Mutex
	conns     []*conn // those that are open
	instances map[*upConns]struct{}
	emptied   chan struct{} // closed once draining and no connection is left
	slots     chan struct{} // one for each connection allowed
	wake      chan struct{} // tells the sweeper that there is work again
	workers   sync.WaitGroup
	looping   sync.WaitGroup
	started   bool
	stop      sync.Once
}

// New checks the options and binds the listener. A gateway that is never
// started must still be stopped.
func New(opts Options) (*Gateway, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	m, err := newMetrics(opts.Registerer)
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		opts: opts, ln: opts.Listener, metrics: m, made: time.Now(),
		limits:    http1.Limits{Target: opts.MaxTarget, Fields: opts.MaxFields},
		instances: map[*upConns]struct{}{},
		emptied:   make(chan struct{}),
		slots:     make(chan struct{}, opts.MaxConns),
		wake:      make(chan struct{}, 1),
	}
	g.base, g.cancel = context.WithCancel(context.Background())
	g.buffers.New = func() any { return newScratch(opts.MaxHead) }
	g.tick.Store(1) // 0 means "never" in what is compared with it
	if err := g.makeLoops(opts.loops); err != nil {
		return nil, err
	}
	if g.ln == nil {
		if g.ln, err = net.Listen("tcp", opts.Listen); err != nil {
			g.closeLoops()
			return nil, fmt.Errorf("listen for invocations: %w", err)
		}
	}
	if err := g.listen(); err != nil {
		_ = g.ln.Close()
		g.closeLoops()
		return nil, err
	}
	return g, nil
}

// Addr returns the address that the gateway listens on.
func (g *Gateway) Addr() net.Addr { return g.ln.Addr() }

// Start begins to serve and returns. Call it once.
func (g *Gateway) Start() {
	g.started = true
	g.workers.Go(g.sweep)
	g.workers.Go(g.accept)
	for _, l := range g.loops {
		g.looping.Go(l.run)
	}
}

// Stop closes the listener and idle connections and lets exchanges in flight
// finish, their responses saying Connection: close. When ctx ends first it
// cuts those that are left and returns ctx's error. It is idempotent.
func (g *Gateway) Stop(ctx context.Context) error {
	var err error
	g.stop.Do(func() { err = g.shutdown(ctx) })
	return err
}

func (g *Gateway) shutdown(ctx context.Context) error {
	g.mu.Lock()
	g.draining.Store(true)
	if len(g.conns) == 0 {
		close(g.emptied)
	}
	g.mu.Unlock()
	closeErr := g.closeDoor()
	g.wakeSweeper()
	select {
	case <-g.emptied:
	case <-ctx.Done():
		g.cut()
		<-g.emptied
		closeErr = fmt.Errorf("drain connections: %w", ctx.Err())
	}
	g.cancel()
	g.workers.Wait()
	g.closeIdles()
	for _, l := range g.loops {
		l.stop()
	}
	g.looping.Wait()
	g.closeLoops()
	return closeErr
}

// cut ends every connection at once.
func (g *Gateway) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.conns {
		c.watch.fire(causeCut, nil)
	}
}

func (g *Gateway) closeIdles() {
	g.mu.Lock()
	lists := make([]*upConns, 0, len(g.instances))
	for l := range g.instances {
		lists = append(lists, l)
	}
	g.mu.Unlock()
	for _, l := range lists {
		l.drop(func(*upConn) bool { return true })
	}
}

// Forget drops the metrics of a function that is no longer deployed.
func (g *Gateway) Forget(ref faas.Ref) { g.metrics.forget(ref) }

// elapsed measures from start, for metrics; deadlines go by the sweeper's tick.
func elapsed(start time.Time) float64 { return time.Since(start).Seconds() }
