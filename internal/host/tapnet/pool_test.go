package tapnet

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeBuilder counts what it makes; making takes a second of fake time.
type fakeBuilder struct {
	made atomic.Int32
	fail atomic.Bool
}

var errFake = errors.New("no network today")

func (b *fakeBuilder) build(plan Plan) (*Network, error) {
	time.Sleep(time.Second)
	if b.fail.Load() {
		return nil, errFake
	}
	b.made.Add(1)
	return &Network{plan: plan}, nil
}

// withPool calls f in a bubble of fake time, with a pool of two that is full.
func withPool(t *testing.T, f func(t *testing.T, p *Pool, b *fakeBuilder)) {
	synctest.Test(t, func(t *testing.T) {
		var b fakeBuilder
		p := newPool(DefaultPlan(), 2, b.build)
		defer p.Close()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if p.Ready() != 2 {
			t.Fatalf("%d are ready, want 2", p.Ready())
		}
		f(t, p, &b)
	})
}

// take takes one and returns how long that took.
func take(t *testing.T, p *Pool) time.Duration {
	t.Helper()
	begin := time.Now()
	n, err := p.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n.Close()
	return time.Since(begin)
}

func TestTakeIsAtOnceWhileThereAreSome(t *testing.T) {
	withPool(t, func(t *testing.T, p *Pool, _ *fakeBuilder) {
		for i, want := range []time.Duration{0, 0, time.Second} {
			if got := take(t, p); got != want {
				t.Errorf("number %d took %v, want %v", i, got, want)
			}
		}
	})
}

func TestRefillWaitsForQuiet(t *testing.T) {
	withPool(t, func(t *testing.T, p *Pool, b *fakeBuilder) {
		take(t, p)
		time.Sleep(quiet / 2)
		take(t, p)
		time.Sleep(quiet + 900*time.Millisecond)
		if b.made.Load() != 2 {
			t.Errorf("%d made, want none before there was quiet", b.made.Load()-2)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if p.Ready() != 2 || b.made.Load() != 4 {
			t.Errorf("%d ready of %d made, want 2 of 4", p.Ready(), b.made.Load())
		}
	})
}

func TestRefillDoesNotWaitForEver(t *testing.T) {
	withPool(t, func(t *testing.T, p *Pool, _ *fakeBuilder) {
		take(t, p)
		for begin := time.Now(); time.Since(begin) < mostQuiet+time.Second+quiet; time.Sleep(quiet / 2) {
			p.tell() // as if somebody took some all the time
		}
		synctest.Wait()
		if p.Ready() != 2 {
			t.Errorf("%d are ready, want 2", p.Ready())
		}
	})
}

func TestFailure(t *testing.T) {
	withPool(t, func(t *testing.T, p *Pool, b *fakeBuilder) {
		b.fail.Store(true)
		take(t, p)
		take(t, p)
		if _, err := p.Take(t.Context()); !errors.Is(err, errFake) {
			t.Errorf("got %v, want the builder's error", err)
		}
		time.Sleep(10 * time.Second)
		b.fail.Store(false)
		take(t, p)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if p.Ready() != 2 {
			t.Errorf("%d are ready after it works again, want 2", p.Ready())
		}
	})
}

func TestContextBoundsTake(t *testing.T) {
	withPool(t, func(t *testing.T, p *Pool, _ *fakeBuilder) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		results := make(chan error)
		const n = 2 + together + 2 // ready, made on the spot, and too many
		for range n {
			go func() { _, err := p.Take(ctx); results <- err }()
		}
		late := 0
		for range n {
			if err := <-results; errors.Is(err, context.DeadlineExceeded) {
				late++
			} else if err != nil {
				t.Error(err)
			}
		}
		if late != 2 {
			t.Errorf("%d were too late, want 2", late)
		}
	})
}

func TestClosedPool(t *testing.T) {
	withPool(t, func(t *testing.T, p *Pool, _ *fakeBuilder) {
		p.Close()
		p.Close()
		if _, err := p.Take(t.Context()); !errors.Is(err, ErrClosed) || p.Ready() != 0 {
			t.Errorf("got %v, %d ready", err, p.Ready())
		}
	})
}
