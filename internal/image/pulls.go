package image

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// pulls are what is being pulled now. Those who want the same wait for one
// pull. One that nobody waits for any more ends, unless a function wants it:
// then it goes on, and its error is kept for the next who asks.
type pulls struct {
	life context.Context
	end  context.CancelFunc
	work sync.WaitGroup

	mu   sync.Mutex
	jobs map[string]*job
}

func newPulls() *pulls {
	p := &pulls{jobs: map[string]*job{}}
	p.life, p.end = context.WithCancel(context.Background())
	return p
}

func (p *pulls) close() {
	p.mu.Lock()
	p.end() // under the lock: no job begins after
	p.mu.Unlock()
	p.work.Wait()
}

// A job is one pull.
type job struct {
	key       string
	done      chan struct{}
	cancel    context.CancelFunc
	got, size atomic.Int64 // bytes of layers

	// Guarded by pulls.mu until done is closed.
	waiters int
	kept    bool // goes on without waiters
	pulled  pulled
	err     error
}

// pulled is the result of a pull.
type pulled struct {
	pin Pin
	rec imageRecord
}

// do waits for the pull called key, which run does when it is not under way.
// With keep it waits for patience only.
func (p *pulls) do(ctx context.Context, key string, patience time.Duration, run func(context.Context, *job) (pulled, error)) (pulled, error) {
	for {
		j, err := p.join(key, patience == 0, run)
		if err != nil {
			return pulled{}, err
		}
		got, err := p.wait(ctx, j, patience)
		// We may have joined one that somebody gave up just then.
		if err == nil || ctx.Err() != nil || p.life.Err() != nil || faas.KindOf(err) != faas.KindCanceled {
			return got, err
		}
	}
}

// join returns the job called key, which it begins when there is none. With
// afresh the error of one that has failed does not count.
func (p *pulls) join(key string, afresh bool, run func(context.Context, *job) (pulled, error)) (*job, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life.Err() != nil {
		return nil, faas.Errorf(faas.KindUnavailable, "the platform is stopping")
	}
	j, ok := p.jobs[key]
	if ok {
		failed := false
		select {
		case <-j.done:
			failed = true
			delete(p.jobs, key)
		default:
		}
		if !failed || !afresh {
			j.waiters++
			return j, nil
		}
	}
	ctx, cancel := context.WithCancel(p.life)
	j = &job{key: key, done: make(chan struct{}), cancel: cancel, waiters: 1}
	p.jobs[key] = j
	p.work.Go(func() {
		defer cancel()
		got, err := run(ctx, j)
		p.finish(j, got, err)
	})
	return j, nil
}

func (p *pulls) finish(j *job, got pulled, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	j.pulled, j.err = got, err
	close(j.done)
	if err == nil || j.waiters > 0 || !j.kept {
		delete(p.jobs, j.key)
	}
}

func (p *pulls) wait(ctx context.Context, j *job, patience time.Duration) (pulled, error) {
	var late <-chan time.Time
	if patience > 0 {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-j.done:
		p.leave(j, false)
		return j.pulled, j.err
	case <-ctx.Done():
		p.leave(j, false)
		return pulled{}, context.Cause(ctx)
	case <-late:
		p.leave(j, true)
		return pulled{}, faas.Errorf(faas.KindBusy, "it is being pulled, %d of %d MiB so far", j.got.Load()>>20, j.size.Load()>>20)
	}
}

// leave is called by each waiter at its end.
func (p *pulls) leave(j *job, keep bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	j.kept = j.kept || keep
	if j.waiters--; j.waiters == 0 && !j.kept {
		j.cancel()
	}
}
