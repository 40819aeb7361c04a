package pool

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// A world is a pool under random use, with what must hold of it.
type world struct {
	*rapid.T
	pool     *Pool
	launcher *launcher
	room     int64
	current  []*faas.Revision
	made     int
	failing  atomic.Bool
	waiting  []*ticket // in the order in which they came
	held     []*ticket
}

// A ticket is one Acquire: it must be answered exactly once.
type ticket struct {
	*request
	rev     *faas.Revision
	answers int
	left    bool // canceled by its client
}

const parallelism = 3

// TestAnyUse is a state machine: random operations on random functions, the
// invariants checked after each.
func TestAnyUse(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// Rapid tells of a failure by a panic, which must leave the bubble's
		// goroutine by way of this one.
		w := newWorld(rt)
		var failure any
		synctest.Test(t, func(*testing.T) {
			w.open()
			defer func() {
				failure = recover()
				w.failing.Store(false)
				_ = w.pool.Stop(context.Background()) // the failure is reported already
			}()
			w.run()
		})
		if failure != nil {
			panic(failure)
		}
	})
}

func newWorld(t *rapid.T) *world {
	w := &world{T: t, launcher: &launcher{delay: 50 * time.Millisecond}}
	w.launcher.script = func(context.Context, int) error {
		if w.failing.Load() {
			return faas.Errorf(faas.KindBroken, "scripted")
		}
		return nil
	}
	w.launcher.born = func(f *fake) { f.stopFor = 10 * time.Millisecond }
	w.room = rapid.Int64Range(1, 12).Draw(t, "room") * 10 * mib
	for n := range rapid.IntRange(1, 3).Draw(t, "functions") {
		w.current = append(w.current, function(fmt.Sprintf("f%d", n), func(f *faas.Function) {
			f.Concurrency = rapid.IntRange(1, 3).Draw(t, "concurrency")
			f.MaxInstances = rapid.IntRange(0, 3).Draw(t, "max")
			f.MinInstances = rapid.IntRange(0, max(1, f.MaxInstances)).Draw(t, "min")
			f.SingleUse = rapid.SampledFrom([]faas.SingleUse{faas.Reuse, faas.Reuse, faas.GoAtOnce, faas.StayIdle}).Draw(t, "use")
			f.Keepalive = time.Duration(rapid.IntRange(0, 3).Draw(t, "keepalive")) * 100 * time.Millisecond
			f.Queue = rapid.IntRange(1, 6).Draw(t, "queue")
		}))
	}
	return w
}

func (w *world) open() {
	w.pool = New(Options{
		Launcher: w.launcher, Memory: &memory{launcher: w.launcher, total: w.room},
		StartParallelism: parallelism, StopParallelism: 2,
		Estimate: func(*faas.Revision) int64 { return 10 * mib },
	})
	w.pool.SetRevisions(w.current)
}

func (w *world) run() {
	steps := map[string]func(){
		"acquire": w.acquire, "acquire2": w.acquire, "release": w.release, "release2": w.release, "leave": w.leave,
		"sleep": w.sleep, "crash": w.crash, "redeploy": w.redeploy, "fail": func() { w.failing.Store(!w.failing.Load()) },
	}
	names := []string{"acquire", "acquire2", "crash", "fail", "leave", "redeploy", "release", "release2", "sleep"}
	for range rapid.IntRange(1, 60).Draw(w.T, "steps") {
		steps[rapid.SampledFrom(names).Draw(w.T, "step")]()
		synctest.Wait()
		w.collect()
		w.check()
	}
	w.finish()
}

func (w *world) acquire() {
	rev := rapid.SampledFrom(w.current).Draw(w.T, "function")
	if lease, ok := w.pool.TryAcquire(rev); ok {
		w.held = append(w.held, &ticket{request: &request{lease: lease}, rev: rev})
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	k := &ticket{request: &request{cancel: cancel}, rev: rev}
	w.waiting = append(w.waiting, k)
	go func() {
		k.lease, k.err = w.pool.Acquire(ctx, rev)
		k.done = true
		k.answers++
	}()
}

func (w *world) release() {
	if len(w.held) == 0 {
		return
	}
	n := rapid.IntRange(0, len(w.held)-1).Draw(w.T, "lease")
	k := w.held[n]
	w.held = append(w.held[:n], w.held[n+1:]...)
	k.lease.Release(rapid.IntRange(0, 4).Draw(w.T, "healthy") > 0)
}

func (w *world) leave() {
	if len(w.waiting) > 0 {
		k := rapid.SampledFrom(w.waiting).Draw(w.T, "who leaves")
		k.left = true
		k.cancel()
	}
}

func (w *world) sleep() {
	time.Sleep(time.Duration(rapid.IntRange(1, 300).Draw(w.T, "ms")) * time.Millisecond)
}

func (w *world) crash() {
	if alive := w.launcher.alive(); len(alive) > 0 {
		rapid.SampledFrom(alive).Draw(w.T, "who crashes").crash(sandbox.Exit{Code: 1})
	}
}

func (w *world) redeploy() {
	n := rapid.IntRange(0, len(w.current)-1).Draw(w.T, "which")
	w.made++
	w.current[n] = revised(w.current[n], w.made)
	w.pool.SetRevisions(w.current)
}

// collect moves what has been answered from waiting to held, and checks the
// order: of one revision, nobody who still waits may have come before one
// who has been served.
func (w *world) collect() {
	var still []*ticket
	for _, k := range w.waiting {
		switch {
		case !k.done:
			still = append(still, k)
		case k.err != nil:
			w.checkError(k)
		default:
			for _, earlier := range still {
				if earlier.rev == k.rev {
					w.Fatalf("%v: a later request was served first", k.rev)
				}
			}
			w.held = append(w.held, k)
		}
	}
	w.waiting = still
}

func (w *world) checkError(k *ticket) {
	var e *faas.Error
	if !errors.As(k.err, &e) {
		w.Fatalf("error without a kind: %v", k.err)
	}
	switch e.Kind {
	case faas.KindBusy, faas.KindBroken:
		if e.RetryAfter <= 0 {
			w.Fatalf("no RetryAfter: %v", e)
		}
	case faas.KindCanceled:
		if !k.left {
			w.Fatalf("canceled, but it had not left: %v", e)
		}
	default:
		w.Fatalf("unexpected error: %v", e)
	}
}

// check looks at the launcher from outside and at the groups from inside.
func (w *world) check() {
	if peak := w.launcher.peakStarts(); peak > parallelism {
		w.Fatalf("%d starts at once", peak)
	}
	inFlight := map[*instance]int{}
	for _, k := range w.held {
		inFlight[k.lease.instance]++
	}
	for _, g := range w.pool.index.all() {
		w.checkGroup(g, inFlight)
	}
}

func (w *world) checkGroup(g *group, inFlight map[*instance]int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := &g.rev.Function
	counted := len(g.starts)
	for _, i := range g.instances {
		if i.inFlight != inFlight[i] || i.inFlight > g.capacity {
			w.Fatalf("%s: %d in flight, %d leases, capacity %d", i.sandbox.ID(), i.inFlight, inFlight[i], g.capacity)
		}
		if !i.uncounted {
			counted++
		}
		if room := i.able() && i.inFlight < g.capacity; room != i.stacked {
			w.Fatalf("%s: has room %v, offered %v", i.sandbox.ID(), room, i.stacked)
		}
		if g.draining && i.idle() {
			w.Fatalf("%s: an idle instance of a revision that is gone", i.sandbox.ID())
		}
	}
	if f.MaxInstances > 0 && counted > f.MaxInstances {
		w.Fatalf("%v: %d instances, at most %d", g.rev, counted, f.MaxInstances)
	}
	if g.waiters.n > f.Queue {
		w.Fatalf("%v: %d wait, at most %d", g.rev, g.waiters.n, f.Queue)
	}
	if g.waiters.n > 0 && (g.room.top != nil || g.hopeless(time.Now())) {
		w.Fatalf("%v: %d wait for nothing", g.rev, g.waiters.n)
	}
	if g.empty(time.Now()) {
		w.Fatalf("%v: nothing is left but it is kept", g.rev)
	}
}

// finish lets everything come to rest: every request is answered in the end,
// and Stop leaves nothing.
func (w *world) finish() {
	w.failing.Store(false)
	for range 200 {
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		w.collect()
		w.check()
		for _, k := range w.held {
			k.lease.Release(true)
		}
		w.held = nil
	}
	if len(w.waiting) > 0 {
		w.Fatalf("%d requests have not been answered", len(w.waiting))
	}
	if err := w.pool.Stop(context.Background()); err != nil {
		w.Fatalf("Stop: %v", err)
	}
	if len(w.launcher.alive()) > 0 || len(w.pool.index.all()) > 0 || w.pool.schedule.running > 0 ||
		w.pool.schedule.pending != 0 || w.pool.freeing.Load() != 0 || w.pool.stopping.Load() != 0 {
		w.Fatalf("something is left after Stop")
	}
}
