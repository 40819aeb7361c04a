package pool

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// withFallback returns a revision in sandbox "nanos" that falls back to
// "linux".
func withFallback(name string, edits ...func(*faas.Function)) *faas.Revision {
	rev := function(name, edits...)
	rev.Function.Sandbox, rev.Function.Fallback = "nanos", "linux"
	rev.Fallback = revised(rev, 1)
	rev.Fallback.Function.Sandbox, rev.Fallback.Function.Fallback, rev.Fallback.Function.MinInstances = "linux", "", 0
	return rev
}

// servedIn makes one request, ends it well, and returns the sandbox it had.
func servedIn(t *testing.T, p *Pool, rev *faas.Revision) string {
	t.Helper()
	l := acquire(t, p, rev)
	defer l.Release(true)
	return l.Instance().(*fake).rev.Function.Sandbox
}

func TestFallbackServesWhatCannotStart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		l := &launcher{ill: "nanos"}
		p := newPool(t, l, func(o *Options) { o.Registerer = registry })
		rev := withFallback("f")
		p.SetRevisions([]*faas.Revision{rev})
		for n := range 5 {
			equal(t, "served in", servedIn(t, p, rev), "linux")
			if n < strikeLimit-1 {
				equal(t, "relieved early", p.Snapshot()[0].Relief == nil, true)
				time.Sleep(time.Second)
			}
		}
		equal(t, "launches: three failures, and the fallback", l.count(), strikeLimit+1)
		st := p.Snapshot()[0]
		if st.Relief == nil || !strings.Contains(st.Relief.Reason, "nanos") {
			t.Errorf("relief: %+v", st.Relief)
		}
		equal(t, "revision", st.Revision, rev.ID())
		want := `
# HELP unifaas_pool_fallback 1 while a function is served by its fallback because its own sandbox keeps failing.
# TYPE unifaas_pool_fallback gauge
unifaas_pool_fallback{function="f"} 1
# HELP unifaas_pool_fallback_requests_total Requests that were sent to the function's fallback because its own sandbox fails.
# TYPE unifaas_pool_fallback_requests_total counter
unifaas_pool_fallback_requests_total{function="f"} 5
`
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "unifaas_pool_fallback", "unifaas_pool_fallback_requests_total"); err != nil {
			t.Error(err)
		}
	})
}

func TestFunctionReturnsToItsSandbox(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{ill: "nanos"}
		p := newPool(t, l)
		rev := withFallback("f", func(f *faas.Function) { f.Keepalive = time.Hour })
		p.SetRevisions([]*faas.Revision{rev})
		for range strikeLimit {
			equal(t, "served in", servedIn(t, p, rev), "linux")
			time.Sleep(time.Second)
		}
		// Tries: after the pause of 5 s, which a failed one doubles.
		for _, pause := range []time.Duration{reliefFirst, 2 * reliefFirst, 4 * reliefFirst} {
			launches, began := l.count(), time.Now()
			equal(t, "served in", servedIn(t, p, rev), "linux")
			rest := time.Until(p.Snapshot()[0].Relief.Next)
			time.Sleep(rest - time.Millisecond)
			synctest.Wait()
			equal(t, "launches before the pause is over", l.count(), launches)
			time.Sleep(time.Millisecond)
			synctest.Wait()
			equal(t, "launches after it", l.count(), launches+1)
			equal(t, "pause", time.Since(began) > pause-2*time.Second && time.Since(began) <= pause, true)
		}
		l.heal("")
		equal(t, "served in", servedIn(t, p, rev), "linux")
		time.Sleep(8 * reliefFirst)
		synctest.Wait()
		equal(t, "relieved still", p.Snapshot()[0].Relief == nil, true)
		equal(t, "served in", servedIn(t, p, rev), "nanos")
		// One more failure, soon after, is enough.
		l.heal("nanos")
		lease := acquire(t, p, rev)
		lease.Release(false)
		equal(t, "served in", servedIn(t, p, rev), "linux")
		if p.Snapshot()[0].Relief == nil {
			t.Error("a function that fails as soon as it is back is not relieved")
		}
	})
}

// A unikernel that starts well and breaks under its requests, too.
func TestFallbackForWhatBreaksRequests(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := withFallback("f")
		p.SetRevisions([]*faas.Revision{rev})
		for range strikeLimit {
			lease := acquire(t, p, rev)
			equal(t, "sandbox", lease.Instance().(*fake).rev.Function.Sandbox, "nanos")
			lease.Release(false)
			time.Sleep(10 * time.Second)
		}
		equal(t, "served in", servedIn(t, p, rev), "linux")
		lease, ok := p.TryAcquire(rev)
		if !ok || lease.Instance().(*fake).rev.Function.Sandbox != "linux" {
			t.Fatalf("TryAcquire: %v, %v", lease, ok)
		}
		lease.Release(true)
	})
}

// Failures that are far apart are no reason.
func TestRareFailuresAreForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := withFallback("f", func(f *faas.Function) { f.Keepalive = time.Second })
		p.SetRevisions([]*faas.Revision{rev})
		for range 3 * strikeLimit {
			equal(t, "served in", servedIn(t, p, rev), "nanos")
			alive := l.alive()
			alive[len(alive)-1].crash(sandbox.Exit{Code: 1})
			time.Sleep(strikeMemory + 30*time.Second) // the start timeout counts, too
		}
		equal(t, "served in", servedIn(t, p, rev), "nanos")
		time.Sleep(time.Hour)
		equal(t, "groups", len(p.index.all()), 0)
	})
}

// With nobody asking, what falls back is forgotten; and so it is when another
// revision is deployed, of which the old stand-in drains.
func TestReliefEnds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{ill: "nanos"}
		p := newPool(t, l)
		rev := withFallback("f", func(f *faas.Function) { f.Keepalive = 2 * time.Minute })
		p.SetRevisions([]*faas.Revision{rev})
		for range strikeLimit {
			servedIn(t, p, rev)
			time.Sleep(time.Second)
		}
		launches := l.count()
		time.Sleep(time.Minute)
		equal(t, "launches for nobody", l.count(), launches)
		equal(t, "served in", servedIn(t, p, rev), "linux")
		synctest.Wait()
		equal(t, "launches once a request has come, with the fallback's", l.count(), launches+1)
		time.Sleep(time.Hour)
		equal(t, "launches for nobody", l.count(), launches+1)
		equal(t, "groups", len(p.index.all()), 0)

		equal(t, "served in", servedIn(t, p, rev), "linux")
		equal(t, "alive", len(l.alive()), 1)
		other := withFallback("f")
		other.Digest, other.Fallback.Digest = "sha256:other", "sha256:other-1"
		p.SetRevisions([]*faas.Revision{other})
		synctest.Wait()
		equal(t, "alive", len(l.alive()), 0)
		equal(t, "stand-in", p.Snapshot()[0].StandIn, "other-1")
	})
}

// Where the fallback fails, too, its error is told.
func TestFallbackThatFails(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{ill: "nanos"}
		p := newPool(t, l)
		rev := withFallback("f")
		rev.Fallback.Function.Sandbox = "nanos" // ill as well
		p.SetRevisions([]*faas.Revision{rev})
		_, err := p.Acquire(t.Context(), rev)
		equal(t, "kind", faas.KindOf(err), faas.KindBroken)
		equal(t, "launches", l.count(), 2)
	})
}

// One crash is one failure, however many requests it broke.
func TestOneCrashIsOneFailure(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := withFallback("f", func(f *faas.Function) { f.Concurrency = 10 })
		p.SetRevisions([]*faas.Revision{rev})
		for range 2 { // in both orders
			leases := make([]*Lease, 5)
			for n := range leases {
				leases[n] = acquire(t, p, rev)
			}
			alive := l.alive()
			alive[len(alive)-1].crash(sandbox.Exit{Code: 1})
			for _, lease := range leases {
				lease.Release(false)
			}
			time.Sleep(2 * strikeGap)
		}
		if r := p.Snapshot()[0].Relief; r != nil {
			t.Errorf("two crashes are enough: %+v", r)
		}
	})
}

// Requests that go well outweigh failures.
func TestFewFailuresInManyRequests(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := withFallback("f")
		p.SetRevisions([]*faas.Revision{rev})
		for range 5 * strikeLimit {
			acquire(t, p, rev).Release(false)
			for range strikeWorth {
				equal(t, "served in", servedIn(t, p, rev), "nanos")
			}
			time.Sleep(10 * time.Second)
		}
	})
}

// A start that was under way when the pause ended is as good as the try.
func TestAnyReadyInstanceEndsTheRelief(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{ill: "nanos"}
		p := newPool(t, l)
		rev := withFallback("f", func(f *faas.Function) { f.Keepalive, f.MinInstances = time.Hour, 1 })
		p.SetRevisions([]*faas.Revision{rev})
		for p.Snapshot()[0].Relief == nil {
			equal(t, "served in", servedIn(t, p, rev), "linux")
			time.Sleep(100 * time.Millisecond)
		}
		l.heal("")
		equal(t, "served in", servedIn(t, p, rev), "linux")
		time.Sleep(reliefFirst + time.Second)
		synctest.Wait()
		equal(t, "served in", servedIn(t, p, rev), "nanos")
		p.SetRevisions(nil)
	})
}

// While the function is relieved nothing is started in its own sandbox, nor for
// instances that were lost there, until the pause is over.
func TestNothingIsReplacedInARelief(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := withFallback("f", func(f *faas.Function) { f.Keepalive = time.Hour })
		p.SetRevisions([]*faas.Revision{rev})
		for range strikeLimit {
			serve(t, p, rev) // it has proved itself
			acquire(t, p, rev).Release(false)
			time.Sleep(2 * strikeGap)
		}
		time.Sleep(reliefFirst - 4*strikeGap)
		synctest.Wait()
		equal(t, "launches: the first, and what replaced two", l.count(), strikeLimit)
		equal(t, "relieved", p.Snapshot()[0].Relief != nil, true)
	})
}
