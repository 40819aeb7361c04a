package tapnet

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// quiet is how long nobody must have taken a network for more to be made:
	// making them delays a burst of starts that has the ready ones already.
	quiet = 100 * time.Millisecond
	// mostQuiet bounds that wait under takes that never end.
	mostQuiet = time.Second
	// together is how many are made on the spot at the same time: the kernel
	// makes one after the other in most parts, and each holds a thread.
	together = 4
)

// ErrClosed is a closed [Pool]'s.
var ErrClosed = errors.New("the pool of networks is closed")

// A Pool makes networks ahead of need. Its methods may be called concurrently.
type Pool struct {
	plan   Plan
	build  func(Plan) (*Network, error)
	ready  chan *Network
	making chan struct{} // holds one for each that is made on the spot
	taken  chan struct{} // tells that there is one less
	stop   context.CancelFunc
	closed <-chan struct{}
	filler sync.WaitGroup
}

// NewPool returns a pool that keeps n networks ready, which it makes in the
// background. It is to be closed.
func NewPool(plan Plan, n int) *Pool { return newPool(plan, n, New) }

func newPool(plan Plan, n int, build func(Plan) (*Network, error)) *Pool {
	ctx, stop := context.WithCancel(context.Background())
	p := &Pool{
		plan: plan, build: build, stop: stop, closed: ctx.Done(),
		ready: make(chan *Network, n), making: make(chan struct{}, together), taken: make(chan struct{}, 1),
	}
	p.filler.Go(p.fill)
	return p
}

// Take returns a network, made on the spot if none is ready. It is the caller's
// to close. ctx bounds the wait.
func (p *Pool) Take(ctx context.Context) (*Network, error) {
	if p.isClosed() {
		return nil, ErrClosed
	}
	select {
	case n := <-p.ready:
		p.tell()
		return n, nil
	default:
	}
	p.tell()
	select {
	case <-p.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	case n := <-p.ready:
		return n, nil
	case p.making <- struct{}{}:
		defer func() { <-p.making }()
		return p.build(p.plan)
	}
}

// tell tells the filler that one was taken; it needs to hear so once.
func (p *Pool) tell() {
	select {
	case p.taken <- struct{}{}:
	default:
	}
}

// Ready returns how many networks are ready.
func (p *Pool) Ready() int { return len(p.ready) }

// Close closes the networks that are ready and makes no more. Those that were
// taken are not touched. It is idempotent.
func (p *Pool) Close() {
	p.stop()
	p.filler.Wait()
	for {
		select {
		case n := <-p.ready:
			n.Close()
		default:
			return
		}
	}
}

// fill makes networks until the pool is closed. Where none can be made,
// [Pool.Take] says why, and after it there is another attempt.
func (p *Pool) fill() {
	for {
		if len(p.ready) < cap(p.ready) && p.addOne() && !p.someTaken() {
			continue
		}
		if !p.awaitQuiet() {
			return
		}
	}
}

// addOne adds one to ready, which has room, unless the pool is closed. Nobody
// else adds to it.
func (p *Pool) addOne() bool {
	if p.isClosed() {
		return false
	}
	n, err := p.build(p.plan)
	if err != nil {
		return false
	}
	p.ready <- n
	return true
}

func (p *Pool) isClosed() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

// someTaken tells whether one was taken since the last time.
func (p *Pool) someTaken() bool { return len(p.taken) > 0 }

// awaitQuiet waits until one has been taken and then none for a while. It
// returns false when the pool is closed.
func (p *Pool) awaitQuiet() bool {
	select {
	case <-p.taken:
	case <-p.closed:
		return false
	}
	most := time.After(mostQuiet)
	for {
		select {
		case <-p.taken:
		case <-time.After(quiet):
			return true
		case <-most:
			return true
		case <-p.closed:
			return false
		}
	}
}
