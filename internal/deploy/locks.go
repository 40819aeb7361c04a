package deploy

import (
	"context"
	"sync"
)

// locks has one lock for each function that somebody changes.
type locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	turn  chan struct{} // holds one value while somebody has the lock
	users int           // who have it or wait for it
}

// lock waits for name's lock. The function returned lets it go; more calls of
// it do nothing.
func (l *locks) lock(ctx context.Context, name string) (unlock func(), err error) {
	l.mu.Lock()
	k := l.held[name]
	if k == nil {
		k = &lock{turn: make(chan struct{}, 1)}
		l.held[name] = k
	}
	k.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(l.held, name)
		}
	}
	select {
	case k.turn <- struct{}{}:
		return sync.OnceFunc(func() { <-k.turn; leave() }), nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
