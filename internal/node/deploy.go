package node

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/deploy"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/pool"
)

// makeDeployed opens the folder of what is deployed.
func (n *Node) makeDeployed() (err error) {
	n.deployed, err = deploy.OpenStore(deploy.StoreOptions{
		Dir: filepath.Join(n.opts.Dirs.StateDir, "functions"), Sandboxes: faas.Sandboxes(), Logger: n.opts.Logger,
	})
	return err
}

// startDeployer admits deploys, from here until the drain.
func (n *Node) startDeployer() {
	d := deploy.New(deploy.Options{
		Store: n.deployed, Images: n.images, Pin: n.images.Current, Platform: (*stage)(n), Logger: n.opts.Logger,
	})
	n.applied.admit(d)
	n.onStop(func(context.Context) error { d.Stop(); return nil })
}

// Deploy implements [control.Deployer].
func (b *backend) Deploy(ctx context.Context, r deploy.Request) (*deploy.Outcome, error) {
	d, err := b.applied.deployer()
	if err != nil {
		return nil, err
	}
	return d.Deploy(ctx, r)
}

// Rollback implements [control.Deployer].
func (b *backend) Rollback(ctx context.Context, name string, try bool) (*deploy.Outcome, error) {
	d, err := b.applied.deployer()
	if err != nil {
		return nil, err
	}
	return d.Rollback(ctx, name, try)
}

// Delete implements [control.Deployer].
func (b *backend) Delete(ctx context.Context, name string, wait bool) error {
	d, err := b.applied.deployer()
	if err != nil {
		return err
	}
	return d.Delete(ctx, name, wait)
}

// applied is the snapshot of the catalog that the pool serves by, which is a
// moment behind the catalog's own.
type applied struct {
	mu       sync.Mutex
	snapshot *catalog.Snapshot // nil until the functions have been loaded
	changed  chan struct{}     // closed with the next snapshot
	deploys  *deploy.Deployer  // nil until the platform serves
}

func (a *applied) publish(s *catalog.Snapshot) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.snapshot = s
	if a.changed != nil {
		close(a.changed)
	}
	a.changed = make(chan struct{})
}

func (a *applied) get() (*catalog.Snapshot, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.snapshot, a.changed
}

func (a *applied) admit(d *deploy.Deployer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.deploys = d
}

func (a *applied) deployer() (*deploy.Deployer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.deploys == nil {
		return nil, faas.Errorf(faas.KindUnavailable, "the platform is starting; deploy again in a moment")
	}
	return a.deploys, nil
}

// stage is the node as deploys see it.
type stage Node

var _ deploy.Platform = (*stage)(nil)

// stopTried bounds the stop of an instance that was only tried.
const stopTried = 15 * time.Second

// Try implements [deploy.Platform].
func (s *stage) Try(ctx context.Context, rev *faas.Revision) (func(bool), error) {
	if err := s.launcher.Prepare(ctx, rev); err != nil {
		return nil, err
	}
	if rev.Fallback != nil {
		// It would be found out when it is needed.
		if err := s.launcher.Prepare(ctx, rev.Fallback); err != nil {
			return nil, fmt.Errorf("its fallback: %w", err)
		}
	}
	start, cancel := context.WithTimeout(ctx, rev.Function.StartTimeout)
	defer cancel()
	inst, err := s.launcher.Launch(start, rev)
	if err != nil {
		return nil, err
	}
	return func(serve bool) {
		// One for a single use would be stopped by the pool, as is proper for
		// one of which it can't know whether it was used.
		if serve && rev.Function.SingleUse == faas.Reuse {
			s.pool.Admit(rev, inst)
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTried)
		defer cancel()
		if err := inst.Stop(ctx); err != nil {
			s.opts.Logger.Error("cannot stop an instance that was tried", "function", rev.Function.Ref.String(), "instance", inst.ID(), "err", err)
		}
	}, nil
}

// Served implements [deploy.Platform].
func (s *stage) Served(ctx context.Context, ref faas.Ref, digest string) error {
	for {
		snapshot, changed := s.applied.get()
		st, ok := snapshot.Status(ref.String())
		deployed := ok && st.Origin.Kind == catalog.OriginDeployed
		if digest == "" && !deployed ||
			deployed && st.Err == nil && st.Revision != nil && st.Revision.Digest == digest {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// drainPoll is how often Drained looks.
const drainPoll = 50 * time.Millisecond

// Drained implements [deploy.Platform].
func (s *stage) Drained(ctx context.Context, ref faas.Ref) error {
	ticker := time.NewTicker(drainPoll)
	defer ticker.Stop()
	for !s.drained(ref) {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (s *stage) drained(ref faas.Ref) bool {
	for _, st := range s.pool.Snapshot() {
		if st.Function == ref && old(st) {
			return false
		}
	}
	return true
}

// old reports whether instances or requests of a revision are left that is
// not current.
func old(st pool.FunctionStatus) bool {
	for _, i := range st.Instances {
		if i.Revision != st.Revision && i.Revision != st.StandIn {
			return true
		}
	}
	return st.Revision == "" && st.Queued > 0
}

// Elsewhere implements [deploy.Platform].
func (s *stage) Elsewhere(ref faas.Ref) string {
	snapshot, _ := s.applied.get()
	if st, ok := snapshot.Status(ref.String()); ok {
		return st.Origin.File
	}
	return ""
}
