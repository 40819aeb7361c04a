package pool

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

func TestStartsAreBoundedAndShared(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{delay: 900 * time.Millisecond}
		p := newPool(t, l, func(o *Options) { o.StartParallelism = 2 })
		noisy, quiet := function("noisy"), function("quiet")
		burst := send(p, noisy, 20)
		single := send(p, quiet, 1)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		equal(t, "the quiet function was served in its turn", single[0].done, true)
		equal(t, "peak", l.peakStarts(), 2)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		equal(t, "served", doneCount(burst), 20)
		equal(t, "peak", l.peakStarts(), 2)
		equal(t, "launches", l.count(), 21)
		for _, r := range append(burst, single...) {
			r.lease.Release(true)
		}
	})
}

// A function that never listens holds places for a moment only, and no more
// starts than there are places.
func TestHungStartsDoNotHoldUpOthers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		hung, quiet := function("hung"), function("quiet")
		l := &launcher{delay: 150 * time.Millisecond}
		l.hang = hung.Function.Ref.Name
		p := newPool(t, l, func(o *Options) { o.StartParallelism = 2 })
		waiting := send(p, hung, 5)
		began := time.Now()
		serve(t, p, quiet)
		equal(t, "a cold start beside hung ones took", time.Since(began), placeHeld+150*time.Millisecond)
		equal(t, "launches of the function that hangs", strings.Count(l.sequence(), "hung"), 2)
		began = time.Now()
		serve(t, p, function("other"))
		equal(t, "the next one took", time.Since(began), 150*time.Millisecond)
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "told of the timeout", doneCount(waiting), 5)
		equal(t, "places held at the end", p.schedule.placed, 0)
	})
}

// A burst of one function whose starts take long is not run more widely
// because each gives its place back.
func TestSlowStartsAreBoundedToo(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{delay: 3 * time.Second}
		p := newPool(t, l, func(o *Options) { o.StartParallelism = 2 })
		rs := send(p, function("f"), 6)
		time.Sleep(9 * time.Second)
		synctest.Wait()
		equal(t, "served", doneCount(rs), 6)
		equal(t, "peak", l.peakStarts(), 2)
		for _, r := range rs {
			r.lease.Release(true)
		}
	})
}

func TestRequestsComeBeforeMinimum(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{delay: placeHeld - 100*time.Millisecond}
		p := newPool(t, l, func(o *Options) { o.StartParallelism = 1 })
		warm := function("warm", func(f *faas.Function) { f.MinInstances = 3 })
		asked := function("asked")
		p.SetRevisions([]*faas.Revision{warm, asked})
		synctest.Wait()
		rs := send(p, asked, 2)
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "order", l.sequence(), "warm asked asked warm warm")
		for _, r := range rs {
			r.lease.Release(true)
		}
	})
}

func TestStartNobodyWaitsForIsCanceled(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{delay: time.Minute}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.StartTimeout = time.Hour })
		rs := send(p, rev, 2)
		rs[0].cancel()
		synctest.Wait()
		equal(t, "canceled", l.canceledStarts(), 1)
		rs[1].cancel()
		synctest.Wait()
		equal(t, "canceled", l.canceledStarts(), 2)
		equal(t, "groups left", len(p.index.all()), 0)
		rs = send(p, rev, 1) // a cancellation is not a failure
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "err", rs[0].err, nil)
		rs[0].lease.Release(true)
	})
}

func TestStartTheMinimumWantsIsNotCanceled(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{delay: time.Second}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.MinInstances = 1 })
		rs := send(p, rev, 2)
		p.SetRevisions([]*faas.Revision{rev})
		rs[0].cancel()
		rs[1].cancel()
		synctest.Wait()
		equal(t, "canceled", l.canceledStarts(), 1)
		time.Sleep(time.Second)
		synctest.Wait()
		equal(t, "alive", len(l.alive()), 1)
	})
}

func TestStartTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{delay: time.Hour}
		p := newPool(t, l)
		rev := function("f", func(f *faas.Function) { f.StartTimeout = 5 * time.Second })
		began := time.Now()
		_, err := p.Acquire(t.Context(), rev)
		e := wantKind(t, err, faas.KindTimeout)
		equal(t, "after", time.Since(began), 5*time.Second)
		if !strings.Contains(e.Message, "not ready within 5s") {
			t.Errorf("message %q does not say what happened", e.Message)
		}
	})
}

func TestFailingStartsBackOff(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var broken atomic.Bool
		broken.Store(true)
		l := &launcher{script: func(context.Context, int) error {
			if broken.Load() {
				cause := errors.New("its last words: secret")
				return &faas.Error{Kind: faas.KindBroken, Message: "it exited at once", Err: cause}
			}
			return nil
		}}
		p := newPool(t, l)
		rev := function("f")
		pause := 100 * time.Millisecond
		for n := range 12 {
			_, err := p.Acquire(t.Context(), rev)
			e := wantKind(t, err, faas.KindBroken)
			equal(t, "launches", l.count(), n+1)
			equal(t, fmt.Sprintf("RetryAfter of failure %d", n+1), e.RetryAfter, pause)
			if !strings.Contains(e.Message, "it exited at once") || strings.Contains(e.Message, "secret") {
				t.Fatalf("message %q", e.Message)
			}
			time.Sleep(pause / 2)
			_, err = p.Acquire(t.Context(), rev) // fails fast
			equal(t, "RetryAfter half way", wantKind(t, err, faas.KindBroken).RetryAfter, pause/2)
			equal(t, "launches", l.count(), n+1)
			time.Sleep(pause / 2)
			pause = min(2*pause, 30*time.Second)
		}
		st := p.Snapshot()[0]
		if st.Failures != 12 || !strings.Contains(st.LastStartError.Error, "secret") {
			t.Errorf("status does not tell the operator: %+v", st)
		}
		broken.Store(false)
		serve(t, p, rev)
		equal(t, "failures after a success", p.Snapshot()[0].Failures, 0)
	})
}

func TestFailureKinds(t *testing.T) {
	for _, test := range []struct {
		err  error
		want faas.Kind
	}{
		{faas.Errorf(faas.KindUnavailable, "gvisor can't run here"), faas.KindUnavailable},
		{faas.Errorf(faas.KindInvalid, "no entrypoint"), faas.KindBroken},
		{faas.Errorf(faas.KindNotFound, "no such image"), faas.KindBroken},
		{fmt.Errorf("start: %w", faas.Errorf(faas.KindBusy, "no pids left")), faas.KindBusy},
		{errors.New("mkdir: /secret: no space left"), faas.KindInternal},
		{context.Canceled, faas.KindUnavailable},
	} {
		inBubble(t, func(t *testing.T) {
			l := &launcher{script: func(context.Context, int) error { return test.err }}
			p := newPool(t, l)
			_, err := p.Acquire(t.Context(), function("f"))
			e := wantKind(t, err, test.want)
			if strings.Contains(e.Message, "secret") || !errors.Is(err, test.err) {
				t.Errorf("message %q, cause %v", e.Message, e.Err)
			}
		})
	}
}

func TestConcurrentFailuresCountOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{delay: time.Second, script: func(context.Context, int) error { return errors.New("no") }}
		p := newPool(t, l)
		rs := send(p, function("f"), 4)
		time.Sleep(time.Second)
		synctest.Wait()
		equal(t, "answered", doneCount(rs), 4)
		equal(t, "launches", l.count(), 4)
		equal(t, "failures", p.Snapshot()[0].Failures, 1)
	})
}

// While something of the function runs, a failing start costs no request.
func TestFailingStartSparesRequestsThatCanBeServed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{script: func(_ context.Context, n int) error {
			if n > 1 {
				return errors.New("no")
			}
			return nil
		}}
		p := newPool(t, l)
		rev := function("f")
		first := acquire(t, p, rev)
		rs := send(p, rev, 2)
		equal(t, "answered", doneCount(rs), 0)
		first.Release(true)
		synctest.Wait()
		equal(t, "err", rs[0].err, nil)
		rs[0].lease.Release(false) // now nothing runs, and starts are held back
		synctest.Wait()
		equal(t, "answered", rs[1].done, true)
		wantKind(t, rs[1].err, faas.KindInternal)
	})
}

func TestFailingFunctionIsForgottenInTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{script: func(context.Context, int) error { return errors.New("no") }}
		p := newPool(t, l)
		_, err := p.Acquire(t.Context(), function("f"))
		wantKind(t, err, faas.KindInternal)
		equal(t, "groups", len(p.index.all()), 1)
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "groups", len(p.index.all()), 0)
		if p.Snapshot()[0].LastStartError == nil {
			t.Error("the last failure is not kept for describe")
		}
	})
}

func TestMinimumBacksOffToo(t *testing.T) {
	for name, l := range map[string]*launcher{
		"fails to start": {script: func(context.Context, int) error { return errors.New("no") }},
		"dies at once":   {born: func(f *fake) { f.crash(sandbox.Exit{Code: 1}) }},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				p := newPool(t, l)
				p.SetRevisions([]*faas.Revision{function("f", func(f *faas.Function) { f.MinInstances = 1 })})
				// Pauses of 0.1, 0.2 .. 25.6, 30, 30 s end within 2 minutes 12 times.
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				if n := l.count(); n < 10 || n > 13 {
					t.Errorf("%d launches in two minutes", n)
				}
			})
		})
	}
}

// A request that ends well on an instance that has died since is no reason
// to start the next one early.
func TestSuccessOfADeadInstanceKeepsTheBackOff(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := &launcher{script: func(_ context.Context, n int) error {
			if n > 1 {
				return errors.New("no")
			}
			return nil
		}}
		p := newPool(t, l)
		rev := function("f")
		lease := acquire(t, p, rev)
		l.nth(0).crash(sandbox.Exit{Code: 1})
		synctest.Wait()
		_, err := p.Acquire(t.Context(), rev)
		wantKind(t, err, faas.KindInternal)
		lease.Release(true)
		_, err = p.Acquire(t.Context(), rev)
		wantKind(t, err, faas.KindInternal)
		equal(t, "launches", l.count(), 2)
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "groups", len(p.index.all()), 0)
	})
}
