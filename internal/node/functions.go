package node

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image"
)

const (
	// pruneEvery is how often the store gives up images that nobody needs.
	pruneEvery = 10 * time.Minute
	// pruneGrace spares images that were resolved this recently: a function
	// that is edited back and forth should not import its image each time.
	pruneGrace = time.Hour
)

// makeCatalog makes the image store and the catalog of the functions folder.
func (n *Node) makeCatalog(reg *prometheus.Registry) error {
	store, err := image.Open(filepath.Join(n.opts.Dirs.StateDir, "store"), image.Options{Logger: n.opts.Logger, Registerer: reg})
	if err != nil {
		return err
	}
	n.images = store
	var source catalog.Source = catalog.Nothing{}
	if dir := n.opts.Config.Functions; dir != "" {
		source, err = catalog.NewFolder(catalog.FolderOptions{
			Dir: dir, Sandboxes: faas.Sandboxes(), Inputs: store.Inputs, Logger: n.opts.Logger,
		})
		if err != nil {
			return err
		}
	}
	n.catalog = catalog.New(catalog.Options{Source: source, Images: store, Logger: n.opts.Logger, Registerer: reg})
	n.onStop(func(context.Context) error { n.catalog.Stop(); return nil })
	return nil
}

// startCatalog loads the functions and follows their changes.
func (n *Node) startCatalog(ctx context.Context) error {
	if err := n.catalog.Start(ctx); err != nil {
		return err
	}
	// Only now: a first listing that is not complete would look like the
	// removal of every function that is still missing.
	known := map[faas.Ref]bool{}
	n.catalog.Watch(func(s *catalog.Snapshot) {
		current := s.Revisions()
		n.pool.SetRevisions(current)
		n.launcher.Keep(current)
		n.preparer.set(current)
		known = n.forgetRemoved(known, s)
	})
	return nil
}

// forgetRemoved drops the metrics of functions that were known and are not in
// s any more. It returns those that are.
func (n *Node) forgetRemoved(known map[faas.Ref]bool, s *catalog.Snapshot) map[faas.Ref]bool {
	now := make(map[faas.Ref]bool, s.Len())
	for _, st := range s.List() {
		now[st.Ref] = true
	}
	for ref := range known {
		if !now[ref] {
			n.gateway.Forget(ref)
		}
	}
	return now
}

// prune gives up images that no revision needs, until ctx is done.
func (n *Node) prune(ctx context.Context) {
	ticker := time.NewTicker(pruneEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		// Instances of replaced revisions have long ended, or hold open what
		// they use, by the time the grace is over.
		keep := n.catalog.Snapshot().Images()
		_, err := n.images.Prune(ctx, keep, pruneGrace)
		if err = errors.Join(err, n.launcher.Prune(keep, pruneGrace)); err != nil && ctx.Err() == nil {
			n.opts.Logger.Warn("cannot prune images", "err", err)
		}
	}
}
