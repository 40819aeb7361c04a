package deploy

import (
	"context"
	"os"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/faas"
)

var _ catalog.Source = (*Store)(nil)

// A follower is one Watch. It is guarded by Store.mu.
type follower struct {
	changed map[string]bool
	wake    chan struct{}
}

func (f *follower) notice(name string) {
	f.changed[name] = true
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Watch implements [catalog.Source].
func (s *Store) Watch(ctx context.Context, deliver func(catalog.Update)) error {
	f := &follower{changed: map[string]bool{}, wake: make(chan struct{}, 1)}
	s.mu.Lock()
	s.followers[f] = true
	for name := range s.functions {
		f.changed[name] = true
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.followers, f)
	}()
	u := s.take(f)
	u.Complete = true
	for {
		deliver(u)
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
		}
		u = s.take(f)
	}
}

// take returns what has changed for f.
func (s *Store) take(f *follower) (u catalog.Update) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range f.changed {
		if fn := s.functions[name]; fn != nil {
			u.Changed = append(u.Changed, fn.entry(name))
		} else {
			u.Removed = append(u.Removed, faas.NewRef(name))
		}
	}
	clear(f.changed)
	return u
}

func (f *function) entry(name string) catalog.Entry {
	e := catalog.Entry{Ref: faas.NewRef(name), Err: f.err, Origin: catalog.Origin{Kind: catalog.OriginDeployed}}
	if r := f.revisions[f.Current]; r != nil {
		e.Function, e.Err = r.function, r.err
	}
	return e
}

// KeptImages returns the images of what is deployed and of what a rollback
// would need.
func (s *Store) KeptImages() []faas.Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	var images []faas.Image
	for _, f := range s.functions {
		for _, r := range f.revisions {
			images = append(images, r.Image)
		}
	}
	return images
}

// Images returns images that bind a deployed function to the image that it
// was deployed with, as long as that is in the store, and any other as inner
// does.
func (s *Store) Images(inner catalog.Images) catalog.Images { return pinned{inner, s} }

type pinned struct {
	catalog.Images
	store *Store
}

// Resolve implements [catalog.Images].
func (p pinned) Resolve(ctx context.Context, fn *faas.Function) (faas.Image, error) {
	img, ok := p.store.imageOf(fn)
	if ok && img.Kept != "" {
		return img, nil // its sandbox has it, or gets it by what it is known by
	}
	if ok && img.Rootfs != "" {
		if _, err := os.Stat(img.Rootfs); err == nil {
			return img, nil
		}
	}
	return p.Images.Resolve(ctx, fn)
}

// Inputs implements [catalog.Images].
func (p pinned) Inputs(fn *faas.Function) []string {
	if _, ok := p.store.imageOf(fn); ok {
		return nil
	}
	return p.Images.Inputs(fn)
}

func (s *Store) imageOf(fn *faas.Function) (faas.Image, bool) {
	f := s.get(fn.Ref.Name)
	if f == nil {
		return faas.Image{}, false
	}
	for _, r := range f.revisions {
		if r.function != nil && r.function.Dir == fn.Dir {
			return r.Image, true
		}
	}
	return faas.Image{}, false
}
