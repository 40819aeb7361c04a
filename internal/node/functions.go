package node

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
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

// makeCatalog makes the image store and the catalog of what is deployed and of
// the functions folder.
func (n *Node) makeCatalog(reg *prometheus.Registry) error {
	store, err := image.Open(filepath.Join(n.opts.Dirs.StateDir, "store"), image.Options{
		Logger: n.opts.Logger, Registerer: reg, Keeper: n.launcher.KeptImage,
	})
	if err != nil {
		return err
	}
	n.images = store
	n.onStop(func(context.Context) error { return store.Close() })
	if err := n.makeDeployed(); err != nil {
		return err
	}
	sources := []catalog.Source{n.deployed} // the stronger one first
	if dir := n.opts.Config.Functions; dir != "" {
		folder, err := catalog.NewFolder(catalog.FolderOptions{
			Dir: dir, Sandboxes: faas.Sandboxes(), Inputs: store.Inputs, Logger: n.opts.Logger,
		})
		if err != nil {
			return err
		}
		sources = append(sources, folder)
	}
	n.catalog = catalog.New(catalog.Options{
		Source: catalog.Merge(sources...), Images: n.deployed.Images(store), Logger: n.opts.Logger, Registerer: reg,
	})
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
	var known map[faas.Ref]bool
	n.catalog.Watch(func(s *catalog.Snapshot) {
		current := s.Revisions()
		n.pool.SetRevisions(current)
		n.launcher.Keep(slices.Concat(current, fallbacks(current)))
		n.preparer.set(current)
		known = n.forgetRemoved(known, s)
		n.applied.publish(s)
	})
	return nil
}

// fallbacks returns the revisions that stand in for others.
func fallbacks(revs []*faas.Revision) (stand []*faas.Revision) {
	for _, rev := range revs {
		if rev.Fallback != nil {
			stand = append(stand, rev.Fallback)
		}
	}
	return stand
}

// forgetRemoved drops the metrics of functions that were known and are not in
// s any more, and sets their output aside. It returns those that are. At first,
// when nothing is known, it sets aside the output of what an earlier run knew.
func (n *Node) forgetRemoved(known map[faas.Ref]bool, s *catalog.Snapshot) map[faas.Ref]bool {
	now, names := make(map[faas.Ref]bool, s.Len()), make([]string, 0, s.Len())
	for _, st := range s.List() {
		now[st.Ref] = true
		names = append(names, st.Ref.String())
	}
	removed := known == nil
	for ref := range known {
		if !now[ref] {
			removed = true
			n.gateway.Forget(ref)
		}
	}
	if removed {
		if err := n.logs.Keep(names); err != nil {
			n.opts.Logger.Warn("cannot set aside the output of removed functions", "err", err)
		}
	}
	return now
}

// prune gives up images that no revision needs, and the output of functions
// that were removed long ago, until ctx is done.
func (n *Node) prune(ctx context.Context) {
	ticker := time.NewTicker(pruneEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		n.pruneImages(ctx, pruneGrace)
		if err := n.logs.Prune(); err != nil {
			n.opts.Logger.Warn("cannot delete the output of removed functions", "err", err)
		}
	}
}

// pruneImages gives up images that nobody needs and nobody has wanted for
// grace.
func (n *Node) pruneImages(ctx context.Context, grace time.Duration) {
	keep := n.neededImages()
	_, err := n.images.Prune(ctx, keep, grace)
	if err = errors.Join(err, n.launcher.Prune(keep, grace)); err != nil && ctx.Err() == nil {
		n.opts.Logger.Warn("cannot prune images", "err", err)
	}
}

// neededImages are those that are served, that a rollback leads to, and that
// instances of replaced revisions have as their root: one that serves a long
// stream may live for days.
func (n *Node) neededImages() []faas.Image {
	// In this order: what is replaced meanwhile is still among the first.
	images := n.catalog.Snapshot().Images()
	images = append(images, n.deployed.KeptImages()...)
	for _, rev := range n.pool.Revisions() {
		images = append(images, rev.Image)
	}
	return images
}
