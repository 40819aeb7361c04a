package pool

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

func TestKeepalive(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := function("f")
		serve(t, p, rev)
		time.Sleep(40 * time.Second)
		serve(t, p, rev) // counts from here again
		time.Sleep(59 * time.Second)
		equal(t, "alive", len(l.alive()), 1)
		time.Sleep(time.Second)
		synctest.Wait()
		equal(t, "alive", len(l.alive()), 0)
		equal(t, "launches", l.count(), 1)
		equal(t, "groups", len(p.index.all()), 0)
	})
}

func TestNoKeepalive(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		serve(t, p, function("f", func(f *faas.Function) { f.Keepalive = 0 }))
		synctest.Wait()
		equal(t, "alive", len(l.alive()), 0)
	})
}

func TestBusyInstanceOutlivesKeepalive(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		lease := acquire(t, p, function("f"))
		time.Sleep(time.Hour)
		equal(t, "alive", len(l.alive()), 1)
		lease.Release(true)
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "alive", len(l.alive()), 0)
	})
}

func TestMinimumIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.MinInstances = 2 })
		p.SetRevisions([]*faas.Revision{rev})
		synctest.Wait()
		equal(t, "alive", len(l.alive()), 2)
		a, b, c := acquire(t, p, rev), acquire(t, p, rev), acquire(t, p, rev)
		equal(t, "cold", a.Cold() || b.Cold() || !c.Cold(), false)
		for _, lease := range []*Lease{a, b, c} {
			lease.Release(true)
		}
		time.Sleep(time.Hour)
		equal(t, "alive after keepalive", len(l.alive()), 2)
		l.alive()[0].crash(sandbox.Exit{Code: 1})
		synctest.Wait()
		equal(t, "alive after a crash", len(l.alive()), 2)
		p.SetRevisions(nil)
		synctest.Wait()
		equal(t, "alive after removal", len(l.alive()), 0)
	})
}

func TestUnhealthyInstanceIsRetired(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.Concurrency, f.MaxInstances = 2, 1 })
		a, b := acquire(t, p, rev), acquire(t, p, rev)
		a.Release(false)
		c := acquire(t, p, rev) // although the old one still serves b
		equal(t, "another instance", c.Instance() != b.Instance(), true)
		equal(t, "alive", len(l.alive()), 2)
		equal(t, "state", p.Snapshot()[0].Instances[0].State, Retiring)
		b.Release(true)
		time.Sleep(lastWords)
		synctest.Wait()
		equal(t, "alive", len(l.alive()), 1)
		equal(t, "exits told", len(p.Snapshot()[0].Exits), 0) // it did not end by itself
		c.Release(true)
	})
}

func TestDeathThatBreaksARequestIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := function("f")
		acquire(t, p, rev).Release(false) // the connection broke first,
		time.Sleep(lastWords / 2)
		l.nth(0).crash(sandbox.Exit{OutOfMemory: true, Reason: "out of memory: 5 MiB"}) // then it was seen why
		synctest.Wait()
		equal(t, "alive", len(l.alive()), 0)
		exits := p.Snapshot()[0].Exits
		if len(exits) != 1 || exits[0].Reason != "out of memory: 5 MiB" {
			t.Errorf("exits: %+v", exits)
		}
	})
}

func TestAnOlderInstanceDoesNotEndTheBackoff(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{script: func(_ context.Context, n int) error {
			if n > 1 {
				return errors.New("boom")
			}
			return nil
		}}
		p := newPool(t, l)
		rev := function("f")
		warm := acquire(t, p, rev)
		rs := send(p, rev, 1) // wants a second instance, whose start fails
		synctest.Wait()
		warm.Release(true) // the first one serves it
		synctest.Wait()
		equal(t, "served by the first", rs[0].err == nil && rs[0].done, true)
		rs[0].lease.Release(true)
		equal(t, "failures", p.Snapshot()[0].Failures, 1)
	})
}

func TestDeathIsNoticed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.MaxInstances = 1 })
		lease := acquire(t, p, rev)
		rs := send(p, rev, 1)
		l.nth(0).crash(sandbox.Exit{OutOfMemory: true})
		synctest.Wait()
		equal(t, "the waiting request has another instance", rs[0].err == nil && rs[0].done, true)
		lease.Release(false)
		rs[0].lease.Release(true)
		l.nth(1).crash(sandbox.Exit{Code: 3})
		synctest.Wait()
		equal(t, "what made up for the one that had served", l.count(), 3)
		exits := p.Snapshot()[0].Exits
		if len(exits) != 2 || exits[0].Reason != "out of memory" || exits[1].Reason != "exit status 3" {
			t.Errorf("exits: %+v", exits)
		}
	})
}

func TestLastExitsAreKept(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := function("f")
		for n := range exitsKept + 3 {
			serve(t, p, rev)
			l.nth(n).crash(sandbox.Exit{Code: n})
			synctest.Wait()
		}
		exits := p.Snapshot()[0].Exits
		equal(t, "kept", len(exits), exitsKept)
		equal(t, "the oldest kept", exits[0].Reason, "exit status 3")
	})
}

type closer struct{ closed atomic.Int32 }

func (c *closer) Close() error { c.closed.Add(1); return nil }

func TestAttachmentBelongsToTheInstance(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		p := newPool(t, &launcher{})
		rev := function("f", func(f *faas.Function) { f.Concurrency = 2 })
		a, b := acquire(t, p, rev), acquire(t, p, rev)
		equal(t, "before", a.Attachment(), nil)
		first, second, late := &closer{}, &closer{}, &closer{}
		equal[io.Closer](t, "first", a.SetAttachment(first), first)
		equal[io.Closer](t, "second", b.SetAttachment(second), first)
		equal[io.Closer](t, "seen by the other lease", b.Attachment(), first)
		a.Release(true)
		equal(t, "closed early", first.closed.Load(), 0)
		b.Release(false)
		synctest.Wait()
		equal(t, "closed", first.closed.Load(), 1)
		equal(t, "loser closed", second.closed.Load(), 0)
		equal(t, "after", b.Attachment(), nil)
		b.SetAttachment(late)
		equal(t, "late one closed", late.closed.Load(), 1)
	})
}

func TestOtherRevisionsDrain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{delay: time.Second}
		p := newPool(t, l)
		older := function("f", func(f *faas.Function) { f.MaxInstances = 2 })
		newer := revised(older, 2)
		p.SetRevisions([]*faas.Revision{older})
		busy, idle := acquire(t, p, older), acquire(t, p, older)
		idle.Release(true)
		p.SetRevisions([]*faas.Revision{newer})
		synctest.Wait()
		equal(t, "alive: the busy one", len(l.alive()), 1)
		fresh := acquire(t, p, newer)
		equal(t, "revision", fresh.Instance().(*fake).rev, newer)
		fresh.Release(true)
		equal(t, "current", p.Snapshot()[0].Revision, newer.ID())
		busy.Release(true)
		synctest.Wait()
		equal(t, "alive: the new one", len(l.alive()), 1)
		equal(t, "groups", len(p.index.all()), 1)
		p.SetRevisions([]*faas.Revision{older, newer}[:1]) // and back
		back := acquire(t, p, older)
		equal(t, "revision", back.Instance().(*fake).rev, older)
		back.Release(true)
		time.Sleep(time.Second)
		equal(t, "kept warm again", len(l.alive()), 1)
	})
}

// Requests that came before the change are served by what they came for,
// even if that has to be started.
func TestQueuedRequestsKeepTheirRevision(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{delay: time.Second}
		p := newPool(t, l, func(o *Options) { o.StartParallelism = 1 })
		rev := function("f")
		p.SetRevisions([]*faas.Revision{rev})
		rs := send(p, rev, 3) // the second and the third start are yet to begin
		p.SetRevisions(nil)
		for _, r := range rs {
			time.Sleep(time.Second)
			synctest.Wait()
			equal(t, "served", r.done && r.err == nil, true)
		}
		for _, r := range rs {
			r.lease.Release(true)
		}
		synctest.Wait()
		equal(t, "launches", l.count(), 3)
		equal(t, "alive", len(l.alive()), 0)
		equal(t, "remembered", len(p.Snapshot()), 0)
	})
}

func TestDrainingInstanceServesItsQueueFirst(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.MaxInstances = 1 })
		first := acquire(t, p, rev)
		rs := send(p, rev, 1)
		p.SetRevisions(nil)
		first.Release(true)
		synctest.Wait()
		equal(t, "err", rs[0].err, nil)
		equal(t, "launches", l.count(), 1)
		rs[0].lease.Release(true)
		synctest.Wait()
		equal(t, "alive", len(l.alive()), 0)
	})
}

func TestAdopt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		kept, gone := function("kept"), function("gone")
		once := function("once", func(f *faas.Function) { f.SingleUse = faas.GoAtOnce })
		stay := function("stay", func(f *faas.Function) { f.SingleUse = faas.StayIdle })
		byName := map[string]*fake{}
		for _, rev := range []*faas.Revision{kept, gone, once, stay} {
			i := l.recovered("old-"+rev.Function.Ref.Name, rev)
			byName[rev.Function.Ref.Name] = i
			p.Adopt(rev, i) // before anybody knows what is deployed
		}
		synctest.Wait()
		equal(t, "single-use, perhaps used: stopped", byName["once"].isStopped(), true)
		equal(t, "not known to be gone yet", byName["gone"].isStopped(), false)
		p.SetRevisions([]*faas.Revision{kept, once, stay})
		synctest.Wait()
		equal(t, "gone", byName["gone"].isStopped(), true)
		lease, ok := p.TryAcquire(kept)
		equal(t, "warm", ok && lease.Instance() == byName["kept"], true)
		lease.Release(true)
		_, ok = p.TryAcquire(stay)
		equal(t, "perhaps used, not reused", ok, false)

		late := l.recovered("late", gone)
		p.Adopt(gone, late)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		equal(t, "late", late.isStopped(), true)
		equal(t, "stay at the end of its keepalive", byName["stay"].isStopped(), true)
	})
}

// What was at work before is known to work, whether it has served since or not.
func TestAdoptedInstanceIsReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.Keepalive = time.Hour })
		i := l.recovered("old", rev)
		p.Adopt(rev, i)
		p.SetRevisions([]*faas.Revision{rev})
		i.crash(sandbox.Exit{Code: 1})
		synctest.Wait()
		equal(t, "launches at once", l.count(), 1)
		// The one that comes for it has proved nothing.
		l.nth(1).crash(sandbox.Exit{Code: 1})
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "launches", l.count(), 1)
	})
}

func TestAdoptedInstanceCountsForMinimum(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.MinInstances = 1 })
		i := l.recovered("old", rev)
		p.Adopt(rev, i)
		p.SetRevisions([]*faas.Revision{rev})
		time.Sleep(time.Hour)
		equal(t, "launches", l.count(), 0)
		equal(t, "stopped", i.isStopped(), false)
	})
}

func TestStopEndsEverything(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{delay: time.Second, born: func(f *fake) { f.stopFor = time.Second }}
		p := newPool(t, l, func(o *Options) { o.StopParallelism = 1 })
		rev := function("f", func(f *faas.Function) { f.MaxInstances = 2 })
		busy, idle := acquire(t, p, rev), acquire(t, p, rev)
		idle.Release(true)
		again, _ := p.TryAcquire(rev)
		rs := send(p, rev, 1)
		starting := send(p, function("g"), 1)
		began := time.Now()
		equal(t, "Stop", p.Stop(t.Context()), nil)
		equal(t, "two stops, one after the other", time.Since(began), 2*time.Second)
		synctest.Wait()
		wantKind(t, rs[0].err, faas.KindUnavailable)
		wantKind(t, starting[0].err, faas.KindUnavailable)
		_, err := p.Acquire(t.Context(), rev)
		wantKind(t, err, faas.KindUnavailable)
		equal(t, "alive", len(l.alive()), 0)
		busy.Release(true)
		again.Release(false)
		equal(t, "Stop again", p.Stop(t.Context()), nil)
	})
}

func TestStopIsRepeatedUntilItWorks(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{born: func(f *fake) {
			f.stopErr = func(attempt int) error {
				if attempt < 4 {
					return errors.New("device busy")
				}
				return nil
			}
		}}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.SingleUse, f.MaxInstances = faas.GoAtOnce, 1 })
		serve(t, p, rev)
		serve(t, p, rev) // one that resists does not count against max
		synctest.Wait()
		equal(t, "alive", len(l.alive()), 2)
		time.Sleep(10 * time.Second) // 1 + 2 + 4
		synctest.Wait()
		equal(t, "alive", len(l.alive()), 0)
	})
}

func TestStopIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		stuck := true
		l := &launcher{born: func(f *fake) {
			f.stopErr = func(int) error {
				if stuck {
					return errors.New("device busy")
				}
				return nil
			}
		}}
		p := New(Options{Launcher: l})
		serve(t, p, function("f"))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		err := p.Stop(ctx)
		if err == nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stop: %v", err)
		}
		equal(t, "after", time.Since(began), 10*time.Second)
		if err := p.Stop(t.Context()); err == nil {
			t.Error("a second Stop forgot the instance that is left")
		}
	})
}
