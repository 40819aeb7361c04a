package pool

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// A crowd makes requests and counts them per instance, from outside.
type crowd struct {
	*testing.T
	pool   *Pool
	inUse  sync.Map // sandbox.Instance -> *atomic.Int32
	served atomic.Int64
}

// use makes one request; every seventh is impatient, every eleventh breaks
// its instance.
func (c *crowd) use(rev *faas.Revision, n int) {
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	if n%7 == 0 {
		time.AfterFunc(time.Millisecond, cancel)
	}
	lease, ok := c.pool.TryAcquire(rev)
	if !ok {
		var err error
		if lease, err = c.pool.Acquire(ctx, rev); err != nil {
			return
		}
	}
	counter, _ := c.inUse.LoadOrStore(lease.Instance(), new(atomic.Int32))
	if got := counter.(*atomic.Int32).Add(1); int(got) > rev.Function.Concurrency {
		c.Errorf("%d requests on one instance", got)
	}
	lease.SetAttachment(&closer{})
	c.served.Add(1)
	counter.(*atomic.Int32).Add(-1)
	lease.Release(n%11 != 0)
}

// TestRace uses a pool from many goroutines in real time, for the race
// detector, and checks that no instance has more requests than it may.
func TestRace(t *testing.T) {
	l := &launcher{delay: time.Millisecond}
	p := newPool(t, l)
	revs := []*faas.Revision{
		function("a", func(f *faas.Function) { f.Concurrency, f.MaxInstances, f.Keepalive = 2, 3, time.Millisecond }),
		function("b", func(f *faas.Function) { f.SingleUse, f.MaxInstances = faas.GoAtOnce, 4 }),
		function("c", func(f *faas.Function) { f.MinInstances, f.MaxInstances = 1, 2 }),
	}
	c := crowd{T: t, pool: p}
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() {
			for k := range 200 {
				c.use(revs[rand.IntN(len(revs))], n+k)
			}
		})
	}
	wg.Go(func() {
		for n := range 50 {
			p.SetRevisions(revs[:n%len(revs)])
			if alive := l.alive(); len(alive) > 0 {
				alive[0].crash(sandbox.Exit{Code: 1})
			}
			p.Snapshot()
			time.Sleep(time.Millisecond)
		}
		p.SetRevisions(revs)
	})
	wg.Wait()
	// How many were served depends on the crashes' back-off and the machine.
	if c.served.Load() == 0 {
		t.Error("no request was served")
	}
}

func BenchmarkTryAcquire(b *testing.B) {
	p := New(Options{Launcher: &launcher{}})
	rev := function("f", func(f *faas.Function) { f.Concurrency = 64 })
	lease, err := p.Acquire(b.Context(), rev)
	if err != nil {
		b.Fatal(err)
	}
	lease.Release(true)
	work := func(b *testing.B) {
		lease, ok := p.TryAcquire(rev)
		if !ok {
			b.Error("no room")
			return
		}
		lease.Release(true)
	}
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			work(b)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				work(b)
			}
		})
	})
	if err := p.Stop(context.Background()); err != nil {
		b.Fatal(err)
	}
}
