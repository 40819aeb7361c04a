package image

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/cas"
	"github.com/unifaas/unifaas/internal/image/layer"
	"github.com/unifaas/unifaas/internal/image/tree"
)

// layerKind is the kind of the records of unpacked layers: their entries, by
// the SHA-256 of the unpacked archive. The content of their files is in the
// store beside them.
func layerKind() string { return "layers" + plainSuffix() }

// plain reports whether the owners of files can't be kept.
func plain() bool { return os.Geteuid() != 0 }

// plainSuffix parts what root has unpacked from what others have: the same
// layer is another tree.
func plainSuffix() string {
	if plain() {
		return "-plain"
	}
	return ""
}

// layerEntries returns the entries of the layer that unpacks to diffID, and
// has their content in the store. The caller holds the store.
func (s *Store) layerEntries(ctx context.Context, diffID string, l packed, budget *layer.Budget) ([]layer.Entry, error) {
	var entries []layer.Entry
	unpacked := false
	err := s.once(ctx, "layer "+diffID, func() (err error) {
		if _, ok := s.knownLayer(diffID); ok {
			return nil
		}
		entries, err = s.unpackLayer(ctx, diffID, l, budget)
		unpacked = err == nil
		return err
	})
	if err != nil || unpacked {
		return entries, err
	}
	entries, ok := s.knownLayer(diffID)
	if !ok {
		return nil, faas.Errorf(faas.KindBusy, "layer %s went from the store while it was being used", diffID)
	}
	return entries, budget.Charge(entries)
}

// knownLayer returns the entries of a layer that has been unpacked before, if
// all its content is still there.
func (s *Store) knownLayer(diffID string) ([]layer.Entry, bool) {
	text, err := s.cas.Record(layerKind(), recordName(diffID))
	if err != nil {
		return nil, false
	}
	entries, err := layer.Parse(text)
	if err != nil {
		s.logger.Warn("record of an unpacked layer is damaged; the layer is unpacked again", "layer", diffID, "err", err)
		return nil, false
	}
	for _, e := range entries {
		if e.Node.Type == tree.File && !s.cas.Has(e.Node) {
			return nil, false
		}
	}
	s.cas.MarkRecord(layerKind(), recordName(diffID))
	return entries, true
}

func recordName(digest string) string { return digest[len("sha256:"):] }

// unpackLayer fetches, verifies and unpacks a layer, all at the same time.
func (s *Store) unpackLayer(ctx context.Context, diffID string, l packed, budget *layer.Budget) ([]layer.Entry, error) {
	batch, err := s.cas.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = batch.Close() }() // what is left of it goes at the next Open
	entries, err := s.readLayer(ctx, diffID, l, batch, budget)
	if err != nil {
		return nil, err
	}
	if err := batch.Publish(); err != nil {
		return nil, err
	}
	return entries, s.cas.PutRecord(ctx, layerKind(), recordName(diffID), layer.Text(entries))
}

func (s *Store) readLayer(ctx context.Context, diffID string, l packed, batch *cas.Batch, budget *layer.Budget) ([]layer.Entry, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	blob, err := l.open(ctx)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	raw := verify(blob, l.digest, l.size)
	archive, err := layer.Decompress(raw)
	if err != nil {
		return nil, blame(raw, err)
	}
	defer archive.Close()
	stream := layer.Ahead(verify(archive, diffID, -1))
	entries, err := layer.Unpack(ctx, stream, batch, layer.Options{Budget: budget, Packed: raw.n.Load, Plain: plain()})
	if !errors.Is(err, layer.ErrDamaged) {
		cancel() // a goroutine may be waiting for the network
	}
	stream.Close()
	if err != nil {
		return nil, blame(raw, err)
	}
	// A decompressor need not read to the very end.
	_, err = io.Copy(io.Discard, raw)
	return entries, err
}

// blame finds out whether a layer is damaged because it is not the one that
// was asked for, which says more.
func blame(raw *verified, err error) error {
	if !errors.Is(err, layer.ErrDamaged) {
		return err
	}
	if _, cause := io.Copy(io.Discard, raw); faas.KindOf(cause) == faas.KindInvalid {
		return cause
	}
	return err
}
