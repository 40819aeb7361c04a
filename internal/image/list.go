package image

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/cas"
	"github.com/unifaas/unifaas/internal/image/tree"
)

// A Listed is one image of a store.
type Listed struct {
	Source string    // a reference in full, "file:...", ...; "" when nobody knows any more
	Digest string    // "sha256:..."; of a reference what it is pinned to
	Pulled time.Time // zero for what is not of a registry
	Size   int64     // bytes of its files, as a function sees them
	Unique int64     // bytes on disk that no other image of the list shares
	// Functions are the names of those that use it.
	Functions []string
}

// listed returns what List says of a source.
func (s *Store) listed(ctx context.Context, source string) (Listed, error) {
	list, err := s.List(ctx, nil)
	if err != nil {
		return Listed{}, err
	}
	for _, l := range list {
		if l.Source == source {
			return l, nil
		}
	}
	return Listed{}, faas.Errorf(faas.KindBusy, "image %q went from the store while it was being pulled", source)
}

// List returns the images of the store: those that are pinned, those that the
// revisions use, and what is left of others.
func (s *Store) List(ctx context.Context, revisions []*faas.Revision) ([]Listed, error) {
	l := listing{store: s, rows: map[string]*row{}, owners: map[string]int{}}
	if err := l.pins(); err != nil {
		return nil, err
	}
	for _, rev := range revisions {
		l.revision(rev)
	}
	if err := l.rest(); err != nil {
		return nil, err
	}
	return l.measure(ctx)
}

// A row is a Listed with its trees: that of the image, and those of functions
// that put files into it.
type row struct {
	Listed
	trees []string
}

type listing struct {
	store  *Store
	rows   map[string]*row // by source
	owners map[string]int  // object -> how many rows have it
}

func (l *listing) pins() error {
	infos, err := l.store.cas.Records(pinKind())
	if err != nil {
		return err
	}
	for _, info := range infos {
		pin, err := l.store.readPin(info.Name)
		if err != nil {
			l.store.logger.Warn("image can't be listed", "err", err)
			continue
		}
		r := l.row(pin.Reference)
		r.Digest, r.Pulled = pin.Digest, pin.Pulled
		if rec, ok := l.store.knownImage(pin.Image); ok {
			r.trees = append(r.trees, rec.Tree)
		}
	}
	return nil
}

func (l *listing) row(source string) *row {
	r, ok := l.rows[source]
	if !ok {
		r = &row{Listed: Listed{Source: source}}
		l.rows[source] = r
	}
	return r
}

func (l *listing) revision(rev *faas.Revision) {
	if rev.Image.Rootfs == "" {
		return // its sandbox keeps its own images
	}
	source := rev.Function.Image.String()
	if rev.Function.Image.Scheme == "registry" {
		if ref, err := parseReference(rev.Function.Image.Location); err == nil {
			source = ref.Name()
		}
	}
	r := l.row(source)
	r.Functions = append(r.Functions, rev.Function.Ref.String())
	if r.Digest == "" {
		r.Digest = rev.Image.Digest
	}
	if t := treeOf(rev.Image); !slices.Contains(r.trees, t) {
		r.trees = append(r.trees, t)
	}
}

// rest adds the trees that belong to nothing that is known.
func (l *listing) rest() error {
	all, err := l.store.cas.Trees()
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, r := range l.rows {
		for _, t := range r.trees {
			known[t] = true
		}
	}
	for _, t := range all {
		if !known[t] {
			l.rows["\xff"+t] = &row{Listed: Listed{Digest: "sha256:" + t}, trees: []string{t}}
		}
	}
	return nil
}

// measure finds out how large the images are and what they share.
func (l *listing) measure(ctx context.Context) ([]Listed, error) {
	sizes := map[*row]map[string]int64{}
	for _, r := range l.rows {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		sizes[r] = l.objects(r)
		for object := range sizes[r] {
			l.owners[object]++
		}
	}
	list := make([]Listed, 0, len(l.rows))
	for _, r := range l.rows {
		for object, size := range sizes[r] {
			if l.owners[object] == 1 {
				r.Unique += size
			}
		}
		slices.Sort(r.Functions)
		list = append(list, r.Listed)
	}
	slices.SortFunc(list, func(a, b Listed) int {
		return strings.Compare(orLast(a.Source)+a.Digest, orLast(b.Source)+b.Digest)
	})
	return list, nil
}

// objects returns what the row has on disk, and sums up its first tree.
func (l *listing) objects(r *row) map[string]int64 {
	sizes := map[string]int64{}
	for i, digest := range r.trees {
		t, err := l.store.cas.Manifest(digest)
		if err != nil {
			continue // pruned meanwhile
		}
		_ = t.Walk(func(_ string, n tree.Node) error { // f never fails
			if n.Type == tree.File {
				sizes[cas.ObjectName(n)] = n.Size
			}
			if i == 0 {
				r.Size += n.Size
			}
			return nil
		})
	}
	return sizes
}

// orLast puts those without a source at the end.
func orLast(source string) string {
	if source == "" {
		return "\xff"
	}
	return source
}
