package pool

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/unifaas/unifaas/internal/faas"
)

func TestSnapshot(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{delay: time.Second, born: func(f *fake) { f.stopFor = 10 * time.Second }}
		p := newPool(t, l, func(o *Options) { o.StartParallelism = 2 })
		equal(t, "functions of a new pool", len(p.Snapshot()), 0)
		rev := function("f", func(f *faas.Function) { f.MaxInstances = 4 })
		a, b := acquire(t, p, rev), acquire(t, p, rev)
		c := acquire(t, p, rev)
		a.Release(true)
		b.Release(false)
		again, _ := p.TryAcquire(rev)
		c.Release(true)
		rs := send(p, rev, 2)
		synctest.Wait()
		st := p.Snapshot()[0]
		states := map[State]int{}
		for _, i := range st.Instances {
			states[i.State]++
			equal(t, "revision", i.Revision, rev.ID())
		}
		if st.Queued != 1 || states[Busy] != 2 || states[Stopping] != 1 || states[Starting] != 1 {
			t.Errorf("queued %d, states %v", st.Queued, states)
		}
		equal(t, "served", st.Instances[0].Served, 1)
		again.Release(true)
		synctest.Wait()
		rs[0].lease.Release(true)
		rs[1].lease.Release(true)
	})
}

func TestMetrics(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		l := &launcher{delay: 100 * time.Millisecond}
		p := newPool(t, l, func(o *Options) { o.Registerer = registry })
		f, g := function("f"), function("g")
		p.SetRevisions([]*faas.Revision{f, g})
		serve(t, p, f)
		serve(t, p, g)
		rs := send(p, f, 2)
		rs[1].cancel()
		synctest.Wait()
		want := `
# HELP unifaas_pool_instances Instances by state.
# TYPE unifaas_pool_instances gauge
unifaas_pool_instances{function="f",state="busy"} 1
unifaas_pool_instances{function="g",state="idle"} 1
# HELP unifaas_pool_starts_total Starts of instances by outcome: ok, canceled (nobody waited any more) or the kind of the failure.
# TYPE unifaas_pool_starts_total counter
unifaas_pool_starts_total{function="f",outcome="canceled"} 1
unifaas_pool_starts_total{function="f",outcome="ok"} 1
unifaas_pool_starts_total{function="g",outcome="ok"} 1
`
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "unifaas_pool_instances", "unifaas_pool_starts_total"); err != nil {
			t.Error(err)
		}
		rs[0].lease.Release(true)
		p.SetRevisions([]*faas.Revision{g})
		synctest.Wait()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				if m.GetLabel()[0].GetValue() != "g" {
					t.Errorf("%s lingers for a removed function", family.GetName())
				}
			}
		}
	})
}

// Ten thousand functions of which nothing runs are nothing to the pool.
func TestRegisteredFunctionsCostNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		p := newPool(t, &launcher{})
		revs := make([]*faas.Revision, 10_000)
		for n := range revs {
			revs[n] = function("f" + strings.Repeat("x", n%50) + time.Duration(n).String())
		}
		p.SetRevisions(revs)
		equal(t, "groups", len(p.index.all()), 0)
		equal(t, "histories", len(p.Snapshot()), 0)
		serve(t, p, revs[0])
		time.Sleep(time.Hour)
		equal(t, "groups", len(p.index.all()), 0)
	})
}
