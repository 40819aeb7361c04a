package pool

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

const mib = 1 << 20

// withMemory gives a pool room for n instances of 10 MiB beside a reserve.
func withMemory(l *launcher, n int64) (*memory, func(*Options)) {
	m := &memory{launcher: l, total: 5*mib + n*10*mib}
	return m, func(o *Options) {
		o.Memory, o.Reserve = m, 5*mib
		o.Estimate = func(*faas.Revision) int64 { return 10 * mib }
		o.StartParallelism = 100
	}
}

func TestMemoryBoundsStarts(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{delay: time.Second}
		_, opt := withMemory(l, 3)
		p := newPool(t, l, opt)
		rs := send(p, function("f"), 5)
		equal(t, "launches: what is pending counts", l.count(), 3)
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "served", doneCount(rs), 3)
		equal(t, "launches", l.count(), 3)
		for _, r := range rs {
			synctest.Wait()
			r.lease.Release(true)
		}
	})
}

// Whoever estimates may have to ask a sandbox that is stuck.
func TestEstimatesAreMadeWithoutLocks(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		var p *Pool
		asked := 0
		p = newPool(t, l, func(o *Options) {
			o.Estimate = func(*faas.Revision) int64 {
				asked++
				for name, mu := range map[string]interface {
					TryLock() bool
					Unlock()
				}{"index": &p.index.mu, "pool": &p.mu} {
					if !mu.TryLock() {
						t.Errorf("an estimate is asked for while the lock of the %s is held", name)
						continue
					}
					mu.Unlock()
				}
				return 0
			}
		})
		p.SetRevisions([]*faas.Revision{function("warm", func(f *faas.Function) { f.MinInstances = 1 })})
		synctest.Wait()
		serve(t, p, function("f"))
		equal(t, "estimates", asked, 2)
	})
}

func TestIdleInstancesMakeRoomOldestFirst(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{born: func(f *fake) { f.stopFor = 100 * time.Millisecond }}
		_, opt := withMemory(l, 3)
		p := newPool(t, l, opt)
		revs := []*faas.Revision{function("a"), function("b"), function("c"), function("d")}
		for _, rev := range revs[:3] {
			serve(t, p, rev)
			time.Sleep(time.Second)
		}
		serve(t, p, revs[0]) // now b is the oldest
		began := time.Now()
		serve(t, p, revs[3])
		equal(t, "waited for the stop", time.Since(began), 100*time.Millisecond)
		var alive []string
		for _, i := range l.alive() {
			alive = append(alive, i.rev.Function.Ref.Name)
		}
		equal(t, "alive", fmt.Sprint(alive), "[a c d]")
	})
}

func TestMinimumIsNotEvicted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		_, opt := withMemory(l, 2)
		p := newPool(t, l, opt)
		warm := function("warm", func(f *faas.Function) { f.MinInstances = 2 })
		other := function("other")
		p.SetRevisions([]*faas.Revision{warm, other})
		synctest.Wait()
		_, err := p.Acquire(t.Context(), other)
		e := wantKind(t, err, faas.KindBusy)
		if !strings.Contains(e.Message, "needs about 10 MiB") || e.RetryAfter <= 0 {
			t.Errorf("%q, RetryAfter %v", e.Message, e.RetryAfter)
		}
		equal(t, "alive", len(l.alive()), 2)
	})
}

func TestNothingIsEvictedInVain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		_, opt := withMemory(l, 3)
		p := newPool(t, l, opt, func(o *Options) {
			o.Estimate = func(rev *faas.Revision) int64 {
				if rev.Function.Ref.Name == "huge" {
					return 1 << 40
				}
				return 10 * mib
			}
		})
		serve(t, p, function("small"))
		_, err := p.Acquire(t.Context(), function("huge"))
		wantKind(t, err, faas.KindBusy)
		equal(t, "alive", len(l.alive()), 1)
	})
}

func TestStarvedStartGoesAheadOnceThereIsRoom(t *testing.T) {
	for name, free := range map[string]func(*memory, *Lease){
		"another function's instance becomes idle": func(_ *memory, l *Lease) { l.Release(true) },
		"the machine gives some back":              func(m *memory, _ *Lease) { m.grow(10 * mib) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				l := &launcher{}
				m, opt := withMemory(l, 1)
				p := newPool(t, l, opt)
				held := acquire(t, p, function("a"))
				rs := send(p, function("b"), 1)
				equal(t, "served", rs[0].done, false)
				free(m, held)
				time.Sleep(starvedRetry)
				synctest.Wait()
				equal(t, "served", rs[0].done && rs[0].err == nil, true)
				rs[0].lease.Release(true)
				held.Release(true)
			})
		})
	}
}

func TestUnreadableMemoryDoesNotStopThePlatform(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		m, opt := withMemory(l, 0)
		m.err = errors.New("no /proc")
		p := newPool(t, l, opt)
		serve(t, p, function("f"))
	})
}

func TestEstimateFollowsMeasurement(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{born: func(f *fake) { f.memory.Store(50 * mib) }}
		m, opt := withMemory(l, 9)
		p := newPool(t, l, opt)
		rev := function("f")
		held := acquire(t, p, rev) // measured at once
		synctest.Wait()
		rs := send(p, rev, 1)
		equal(t, "a second does not fit", rs[0].done, false)
		m.grow(20 * mib)
		time.Sleep(starvedRetry)
		synctest.Wait()
		equal(t, "now it does", rs[0].done, true)
		equal(t, "memory", p.Snapshot()[0].Instances[0].Memory, int64(50*mib))
		rs[0].lease.Release(true)
		held.Release(true)
		time.Sleep(time.Hour) // nothing runs; the measurement is remembered
		equal(t, "groups", len(p.index.all()), 0)
		held = acquire(t, p, rev)
		equal(t, "estimate", held.instance.group.footprint.estimate(), int64(50*mib))
		held.Release(true)
	})
}

func TestFootprintRisesAtOnceAndFallsSlowly(t *testing.T) {
	var f footprint
	f.set(100, false)
	for _, step := range []struct{ measured, want int64 }{{40, 40}, {80, 80}, {0, 70}, {70, 70}, {80, 80}} {
		f.observe(step.measured)
		equal(t, fmt.Sprintf("after %d", step.measured), f.estimate(), step.want)
	}
}

func TestMemoryIsMeasuredInTurn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.Keepalive = time.Hour })
		rs := send(p, rev, 4)
		for _, r := range rs {
			r.lease.Release(true)
		}
		for _, i := range l.alive() {
			i.memory.Store(77 * mib)
		}
		time.Sleep(21 * time.Second)
		synctest.Wait()
		for _, i := range p.Snapshot()[0].Instances {
			equal(t, "memory", i.Memory, int64(77*mib))
		}
	})
}
