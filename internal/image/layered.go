package image

import (
	"context"
	"encoding/json"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/cas"
	"github.com/unifaas/unifaas/internal/image/layer"
	"github.com/unifaas/unifaas/internal/image/tree"
)

// imageRecord is what the store keeps of an image made of layers, by the
// SHA-256 of its configuration.
type imageRecord struct {
	Tree   string           `json:"tree"` // digest of its root file system
	Config faas.ImageConfig `json:"config"`
	Layers []string         `json:"layers"` // what they unpack to, "sha256:..."
}

func imageKind() string { return "images" + plainSuffix() }

// knownImage returns the record of an image whose root file system is in the
// store.
func (s *Store) knownImage(id string) (imageRecord, bool) {
	rec, ok := s.readImage(id)
	if !ok {
		return rec, false
	}
	_, ok = s.cas.Rootfs(rec.Tree)
	return rec, ok
}

func (s *Store) readImage(id string) (rec imageRecord, ok bool) {
	text, err := s.cas.Record(imageKind(), id)
	if err != nil {
		return rec, false
	}
	if err := json.Unmarshal(text, &rec); err != nil {
		s.logger.Warn("record of an image is damaged; the image is imported again", "image", id, "err", err)
		return rec, false
	}
	return rec, true
}

// importBundle makes the image exist in the store.
func (s *Store) importBundle(ctx context.Context, b *bundle) (rec imageRecord, err error) {
	err = s.once(ctx, "image "+b.id, func() error {
		if _, ok := s.knownImage(b.id); ok {
			return nil
		}
		return s.unpackBundle(ctx, b)
	})
	if err != nil {
		return rec, err
	}
	rec, ok := s.knownImage(b.id)
	if !ok {
		return rec, faas.Errorf(faas.KindBusy, "it went from the store while it was being used")
	}
	return rec, nil
}

func (s *Store) unpackBundle(ctx context.Context, b *bundle) error {
	file, err := b.config(ctx)
	if err != nil {
		return err
	}
	if len(file.RootFS.DiffIDs) != len(b.layers) {
		return faas.Errorf(faas.KindInvalid, "its manifest has %d layers, its configuration %d", len(b.layers), len(file.RootFS.DiffIDs))
	}
	// From here to the tree's commit nothing of the layers may be pruned.
	hold, err := s.cas.Hold(ctx)
	if err != nil {
		return err
	}
	defer hold.Close()
	if err := s.roomFor(file.RootFS.DiffIDs, b.layers); err != nil {
		return err
	}
	layers, err := s.allEntries(ctx, file.RootFS.DiffIDs, b.layers)
	if err != nil {
		return err
	}
	rec := imageRecord{Config: file.runConfig(), Layers: file.RootFS.DiffIDs}
	t, err := rootfsOf(layers, rec.Config)
	if err != nil {
		return err
	}
	if rec.Tree, err = s.cas.Commit(ctx, t, inStore, nil); err != nil {
		return err
	}
	text, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode record of image %q: %w", b.id, err)
	}
	return s.cas.PutRecord(ctx, imageKind(), b.id, text)
}

// roomFor looks whether the layers that are missing may fit.
func (s *Store) roomFor(diffIDs []string, layers []packed) error {
	need := int64(0)
	for i, l := range layers {
		if l.size > s.limits.Bytes {
			return faas.Errorf(faas.KindInvalid, "layer %d has %d bytes; the limit is %d", i+1, l.size, s.limits.Bytes)
		}
		if _, err := s.cas.Record(layerKind(), recordName(diffIDs[i])); err != nil {
			need += l.size
		}
	}
	return s.cas.Room(need)
}

// parallelLayers is how many layers are fetched and unpacked at the same time.
const parallelLayers = 3

// allEntries returns the entries of all layers, the lowest first.
func (s *Store) allEntries(ctx context.Context, diffIDs []string, layers []packed) ([][]layer.Entry, error) {
	budget := layer.NewBudget(s.limits)
	all := make([][]layer.Entry, len(layers))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelLayers)
	for i, l := range layers {
		g.Go(func() (err error) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			all[i], err = s.layerEntries(ctx, diffIDs[i], l, budget)
			return wrap(err, "layer %d of %d", i+1, len(layers))
		})
	}
	return all, g.Wait()
}

// rootfsOf lays the layers on each other and adds what every sandbox needs.
func rootfsOf(layers [][]layer.Entry, config faas.ImageConfig) (*tree.Tree, error) {
	var stack layer.Stack
	for i, entries := range layers {
		if err := stack.Apply(entries); err != nil {
			return nil, wrap(err, "layer %d of %d", i+1, len(layers))
		}
	}
	t, err := stack.Tree()
	if err != nil {
		return nil, err
	}
	for _, dir := range mountPoints {
		// Something else than a folder, a link above all, would have a sandbox
		// mount its own somewhere else.
		if err := t.ReplaceByDir(dir.path, tree.Node{Type: tree.Dir, Mode: dir.mode}); err != nil {
			return nil, err
		}
	}
	return t, makeWorkDir(t, config.WorkDir)
}

// makeWorkDir makes the working folder where the image lacks it, as Docker does.
func makeWorkDir(t *tree.Tree, dir string) error {
	if n, ok := t.Lookup(dir); ok && n.Type != tree.File {
		return nil
	}
	if _, err := t.Put(dir, tree.Node{Type: tree.Dir, Mode: 0o755}); err != nil {
		return faas.Errorf(faas.KindInvalid, "working folder %q: %w", dir, err)
	}
	return nil
}

// inStore is for trees whose content the store must have.
func inStore(content string) cas.Opener { return missing(content).open }

// wrap puts words before an error and keeps its kind.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return wrapped(err, fmt.Sprintf(format, args...))
}
