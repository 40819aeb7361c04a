package node

import (
	"context"
	"errors"

	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image"
)

// Images implements [control.Images].
func (b *backend) Images(ctx context.Context) ([]control.Image, error) {
	listed, err := b.images.List(ctx, b.catalog.Snapshot().Revisions())
	if err != nil {
		return nil, err
	}
	list := make([]control.Image, 0, len(listed))
	for _, l := range listed {
		list = append(list, control.Image(l))
	}
	return list, nil
}

// PullImage implements [control.Images]. Functions of the folder that use the
// reference follow by themselves: its pin is one of their inputs.
func (b *backend) PullImage(ctx context.Context, reference string) (control.Image, error) {
	l, err := b.images.Pull(ctx, reference)
	return control.Image(l), err
}

// PruneImages implements [control.Images].
func (b *backend) PruneImages(ctx context.Context, all bool) (control.PrunedImages, error) {
	if !b.admin.ready.Load() {
		return control.PrunedImages{}, faas.Errorf(faas.KindBusy, "the platform has not loaded its functions yet; prune again in a moment")
	}
	for _, st := range b.pool.Snapshot() {
		if old(st) {
			return control.PrunedImages{}, faas.Errorf(faas.KindBusy,
				"instances of an older revision of function %q are still at work on its image; prune again in a moment", st.Function)
		}
	}
	keep := (*Node)(b).neededImages()
	p, err := b.images.PruneImages(ctx, image.PruneOptions{Keep: keep, Asked: all, Loaded: true})
	return prunedImages(p), errors.Join(err, b.launcher.Prune(keep, 0))
}

func prunedImages(p image.Pruned) control.PrunedImages {
	return control.PrunedImages{References: p.References, Trees: p.Trees, Files: p.Objects, Bytes: p.Bytes}
}
