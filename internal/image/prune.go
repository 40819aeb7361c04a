package image

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/cas"
	"github.com/unifaas/unifaas/internal/image/layer"
	"github.com/unifaas/unifaas/internal/image/tree"
)

// PruneOptions say what [Store.PruneImages] leaves.
type PruneOptions struct {
	// Keep are the images that are needed.
	Keep []faas.Image
	// Grace spares what was resolved, or pulled for a function, this recently.
	Grace time.Duration
	// Asked has images go, too, that were pulled by [Store.Pull] and are not
	// needed.
	Asked bool
	// Loaded has images go that were pulled for a function, when they are not
	// needed any more. Who does not know all functions spares them.
	Loaded bool
}

// Pruned says what [Store.Prune] removed.
type Pruned struct {
	References []string // that are not pinned any more, in full
	cas.Pruned
}

// Prune removes what no image of keep needs and nobody has resolved within
// grace. What was pulled by [Store.Pull] stays.
func (s *Store) Prune(ctx context.Context, keep []faas.Image, grace time.Duration) (cas.Pruned, error) {
	p, err := s.PruneImages(ctx, PruneOptions{Keep: keep, Grace: grace, Loaded: true})
	return p.Pruned, err
}

// PruneImages removes images that nobody needs.
func (s *Store) PruneImages(ctx context.Context, o PruneOptions) (Pruned, error) {
	p := &pruning{store: s, opts: o, trees: map[string]bool{}, layers: map[string]bool{}, kept: map[string]bool{}}
	for _, img := range o.Keep {
		p.kept[img.Digest] = true
		if img.Rootfs != "" {
			p.trees[treeOf(img)] = true
		}
	}
	removed, err := s.cas.Prune(ctx, cas.PruneOptions{Before: p.pins, Keep: p.needs, Grace: o.Grace, Held: p.held})
	p.done.Pruned = removed
	return p.done, err
}

// A pruning is one run of PruneImages. Nothing is added to the store meanwhile.
type pruning struct {
	store  *Store
	opts   PruneOptions
	trees  map[string]bool
	layers map[string]bool
	kept   map[string]bool // by the image's digest
	done   Pruned
}

func (p *pruning) needs(digest string) bool { return p.trees[digest] }

// pins removes the pins that are not needed; the images of the others are.
func (p *pruning) pins() error {
	if err := errors.Join(p.bases(), p.keptPins()); err != nil {
		return err
	}
	infos, err := p.store.cas.Records(pinKind())
	if err != nil {
		return err
	}
	var needed []string
	for _, info := range infos {
		pin, err := p.store.readPin(info.Name)
		rec, known := p.store.readImage(pin.Image)
		if err == nil && (known && p.trees[rec.Tree] || p.spares(pin, info.Used)) {
			needed = append(needed, rec.Tree)
			continue
		}
		if err := p.store.cas.RemoveRecord(pinKind(), info.Name); err != nil {
			return err
		}
		p.done.References = append(p.done.References, pin.Reference)
	}
	for _, tree := range needed { // only now: a pin that is spared spares no other
		p.trees[tree] = true
	}
	return nil
}

// keptPins removes the pins of images in sandboxes' own stores that no function
// is bound to any more.
func (p *pruning) keptPins() error {
	infos, err := p.store.cas.Records(keptKind)
	if err != nil || !p.opts.Loaded {
		return err
	}
	for _, info := range infos {
		text, err := p.store.cas.Record(keptKind, info.Name)
		var pin keptPin
		known := err == nil && json.Unmarshal(text, &pin) == nil
		if known && p.kept[pin.Image.Digest] || recent(info.Used, p.opts.Grace) {
			continue
		}
		if err := p.store.cas.RemoveRecord(keptKind, info.Name); err != nil {
			return err
		}
	}
	return nil
}

// bases adds the images to which functions that are needed have added files.
func (p *pruning) bases() error {
	infos, err := p.store.cas.Records(baseKind())
	if err != nil {
		return err
	}
	for _, info := range infos {
		base, err := p.store.cas.Record(baseKind(), info.Name)
		if err != nil {
			return err
		}
		if p.trees[info.Name] {
			p.trees[string(base)] = true
		}
	}
	return nil
}

// forgetBases removes the records of trees that are gone.
func (p *pruning) forgetBases() error {
	infos, err := p.store.cas.Records(baseKind())
	if err != nil {
		return err
	}
	for _, info := range infos {
		if p.store.cas.HasTree(info.Name) {
			continue
		}
		if err := p.store.cas.RemoveRecord(baseKind(), info.Name); err != nil {
			return err
		}
	}
	return nil
}

// spares reports whether a pin stays although nobody needs its image.
func (p *pruning) spares(pin Pin, written time.Time) bool {
	switch {
	case recent(written, p.opts.Grace):
		return true
	case pin.Asked:
		return !p.opts.Asked
	default:
		return !p.opts.Loaded
	}
}

func recent(t time.Time, grace time.Duration) bool {
	// Times in the future are of a clock that was set back.
	age := time.Since(t)
	return age >= 0 && age < grace
}

// held removes the records of images whose trees are gone and of layers that
// no image has, and returns the objects of the layers that stay.
func (p *pruning) held() (map[string]bool, error) {
	if err := errors.Join(p.images(), p.forgetBases()); err != nil {
		return nil, err
	}
	infos, err := p.store.cas.Records(layerKind())
	if err != nil {
		return nil, err
	}
	objects := map[string]bool{}
	for _, info := range infos {
		if !p.layers[info.Name] && !recent(info.Used, p.opts.Grace) {
			if err := p.store.cas.RemoveRecord(layerKind(), info.Name); err != nil {
				return nil, err
			}
			continue
		}
		text, err := p.store.cas.Record(layerKind(), info.Name)
		if err != nil {
			return nil, err
		}
		entries, err := layer.Parse(text)
		if err != nil {
			continue // it is of no use, and holds nothing
		}
		for _, e := range entries {
			if e.Node.Type == tree.File {
				objects[cas.ObjectName(e.Node)] = true
			}
		}
	}
	return objects, nil
}

func (p *pruning) images() error {
	infos, err := p.store.cas.Records(imageKind())
	if err != nil {
		return err
	}
	for _, info := range infos {
		rec, ok := p.store.readImage(info.Name)
		if ok && p.store.cas.HasTree(rec.Tree) {
			for _, id := range rec.Layers {
				p.layers[recordName(id)] = true
			}
			continue
		}
		if err := p.store.cas.RemoveRecord(imageKind(), info.Name); err != nil {
			return err
		}
	}
	return nil
}
