package image

import (
	"context"
	"sync"

	"github.com/unifaas/unifaas/internal/faas"
)

// flights are what is being done once for several who want it at the same
// time. singleflight.Group is not enough: there, who asks can't go before the
// work that it began has ended and still not wait for the work of others.
type flights struct {
	mu      sync.Mutex
	current map[string]*flight
}

type flight struct {
	done chan struct{}
	err  error
}

// once has f run by one of those who ask for the same at the same time: in
// its own goroutine and with its own context. When that ends before f has
// succeeded, another takes over.
func (s *Store) once(ctx context.Context, key string, f func() error) error {
	for {
		mine, fl := s.flights.join(key)
		if mine {
			fl.err = f()
			s.flights.land(key, fl)
			return fl.err
		}
		select {
		case <-fl.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if kind := faas.KindOf(fl.err); fl.err == nil || kind != faas.KindCanceled && kind != faas.KindTimeout {
			return fl.err
		}
		// A stalled registry is worth another try, too.
	}
}

func (fs *flights) join(key string) (mine bool, fl *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fl, ok := fs.current[key]; ok {
		return false, fl
	}
	fl = &flight{done: make(chan struct{})}
	if fs.current == nil {
		fs.current = map[string]*flight{}
	}
	fs.current[key] = fl
	return true, fl
}

func (fs *flights) land(key string, fl *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.current, key)
	close(fl.done)
}
