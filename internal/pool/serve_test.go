package pool

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

func TestFirstRequestsStartWhatTheyNeed(t *testing.T) {
	for _, test := range []struct {
		name                               string
		requests, concurrency, limit, want int
	}{
		{"one each", 5, 1, 0, 5},
		{"shared", 5, 2, 0, 3},
		{"one is enough", 5, 10, 0, 1},
		{"at most max", 5, 1, 2, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				l := &launcher{delay: time.Second}
				p := newPool(t, l, func(o *Options) { o.StartParallelism = 100 })
				rev := function("f", func(f *faas.Function) {
					f.Concurrency, f.MaxInstances = test.concurrency, test.limit
				})
				rs := send(p, rev, test.requests)
				equal(t, "launches", l.count(), test.want)
				time.Sleep(time.Second)
				synctest.Wait()
				equal(t, "served", doneCount(rs), min(test.requests, test.want*test.concurrency))
				for _, r := range rs {
					if r.done && !r.lease.Cold() {
						t.Error("a lease that waited for a start is not cold")
					}
				}
				for _, r := range rs { // each release serves the next
					synctest.Wait()
					equal(t, "err", r.err, nil)
					r.lease.Release(true)
				}
				equal(t, "launches at the end", l.count(), test.want)
			})
		})
	}
}

func TestWarmInstanceIsReusedMostRecentFirst(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := function("f")
		a, b := acquire(t, p, rev), acquire(t, p, rev)
		last := a.Instance()
		b.Release(true)
		a.Release(true)
		c, ok := p.TryAcquire(rev)
		if !ok || c.Instance() != last || c.Cold() {
			t.Fatalf("TryAcquire: got %v, want the instance used last, warm", ok)
		}
		c.Release(true)
		equal(t, "launches", l.count(), 2)
	})
}

func TestTryAcquireNeverStartsOrOverfills(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.Concurrency = 2 })
		if _, ok := p.TryAcquire(rev); ok || l.count() != 0 {
			t.Fatal("TryAcquire made something out of nothing")
		}
		a := acquire(t, p, rev)
		b, ok := p.TryAcquire(rev)
		equal(t, "second place", ok, true)
		_, ok = p.TryAcquire(rev)
		equal(t, "third place of two", ok, false)
		a.Release(true)
		a.Release(true) // does nothing
		c, ok := p.TryAcquire(rev)
		equal(t, "freed place", ok, true)
		_, ok = p.TryAcquire(rev)
		equal(t, "place freed once only", ok, false)
		b.Release(true)
		c.Release(true)
	})
}

func TestQueueIsFirstInFirstOut(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.MaxInstances = 1 })
		first := acquire(t, p, rev)
		rs := send(p, rev, 3)
		equal(t, "served early", doneCount(rs), 0)
		first.Release(true)
		for k, r := range rs {
			synctest.Wait()
			equal(t, "served", doneCount(rs), k+1)
			equal(t, "served in order", r.done, true)
			equal(t, "cold", r.lease.Cold(), false)
			r.lease.Release(true)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{delay: time.Second}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.Queue = 2 })
		rs := send(p, rev, 3)
		if e := wantKind(t, rs[2].err, faas.KindBusy); e.RetryAfter <= 0 {
			t.Error("no RetryAfter")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		rs[0].lease.Release(true)
		rs[1].lease.Release(true)
	})
}

func TestWaitEndsWithContextOrQueueTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l, func(o *Options) { o.QueueTimeout = time.Minute })
		rev := function("f", func(f *faas.Function) { f.MaxInstances = 1 })
		held := acquire(t, p, rev)
		defer held.Release(true)
		rs := send(p, rev, 1)
		rs[0].cancel()
		synctest.Wait()
		wantKind(t, rs[0].err, faas.KindCanceled)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.Acquire(ctx, rev)
		wantKind(t, err, faas.KindTimeout)

		began := time.Now()
		_, err = p.Acquire(t.Context(), rev)
		wantKind(t, err, faas.KindTimeout)
		equal(t, "waited", time.Since(began), time.Minute)
		ended, end := context.WithCancel(t.Context())
		end()
		_, err = p.Acquire(ended, rev)
		wantKind(t, err, faas.KindCanceled)
	})
}

func TestSingleUseGoesAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.SingleUse, f.Concurrency = faas.GoAtOnce, 8 })
		for n := range 3 {
			serve(t, p, rev)
			synctest.Wait()
			equal(t, "launches", l.count(), n+1)
			equal(t, "alive", len(l.alive()), 0)
		}
	})
}

func TestSingleUseStaysIdle(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.SingleUse = faas.StayIdle })
		serve(t, p, rev)
		time.Sleep(30 * time.Second)
		serve(t, p, rev)
		equal(t, "launches", l.count(), 2)
		equal(t, "alive", len(l.alive()), 2)
		time.Sleep(31 * time.Second)
		equal(t, "alive after the first's keepalive", len(l.alive()), 1)
		time.Sleep(30 * time.Second)
		equal(t, "alive after the second's keepalive", len(l.alive()), 0)
	})
}

// A used-up instance must not keep a request waiting for its keepalive.
func TestUsedUpInstanceMakesRoomAtMax(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{born: func(f *fake) { f.stopFor = time.Second }}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.SingleUse, f.MaxInstances = faas.StayIdle, 2 })
		serve(t, p, rev)
		held := acquire(t, p, rev)
		began := time.Now()
		next := acquire(t, p, rev)
		equal(t, "waited for the stop only", time.Since(began), time.Second)
		equal(t, "alive", len(l.alive()), 2)
		rs := send(p, rev, 1) // both are busy
		equal(t, "started over max", l.count(), 3)
		held.Release(true)
		time.Sleep(time.Second)
		synctest.Wait()
		equal(t, "served", rs[0].done, true)
		rs[0].lease.Release(true)
		next.Release(true)
	})
}

func TestCanceledRequestGivesItsLeaseBackUnused(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.SingleUse, f.MaxInstances = faas.GoAtOnce, 1 })
		lease := acquire(t, p, rev)
		p.untake(lease)
		again, ok := p.TryAcquire(rev)
		if !ok || again.Instance() != lease.Instance() {
			t.Fatal("an instance that served nothing was thrown away")
		}
		again.Release(true)
	})
}
