package image

import (
	"context"
	"io"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/registry"
)

// registrySource is the scheme "registry": a reference such as
// "ghcr.io/owner/name:tag".
type registrySource struct{ store *Store }

func (r registrySource) assemble(ctx context.Context, a *assembly, fn *faas.Function) (faas.ImageConfig, error) {
	rec, err := r.store.pinnedImage(ctx, fn.Image.Location)
	if err != nil {
		return faas.ImageConfig{}, wrap(err, "image %q", fn.Image)
	}
	a.base = rec.Tree
	return rec.Config, nil
}

// inputs names the pin: when somebody pulls the image, and gets another one,
// the function is loaded again.
func (r registrySource) inputs(fn *faas.Function) []string {
	ref, err := parseReference(fn.Image.Location)
	if err != nil {
		return nil
	}
	return []string{r.store.cas.RecordPath(pinKind(), pinName(ref))}
}

// pinnedImage returns what a reference means, and asks the registry only if
// the store does not know, or has lost the image.
func (s *Store) pinnedImage(ctx context.Context, location string) (imageRecord, error) {
	ref, err := parseReference(location)
	if err != nil {
		return imageRecord{}, err
	}
	pin, ok := s.pin(ref)
	if ok {
		if rec, ok := s.knownImage(pin.Image); ok {
			return rec, nil
		}
	}
	got, err := s.pulls.do(ctx, ref.Name()+"@"+pin.Digest, s.patience, func(ctx context.Context, j *job) (pulled, error) {
		return s.pullNow(ctx, j, ref, Pin{Digest: pin.Digest})
	})
	return got.rec, err
}

// Pull asks the registry what a reference means now, fetches what the store
// lacks of it, and pins the reference to it. Functions that use the reference
// are loaded again by whoever watches their Inputs. When it was pinned to the
// same image before, nothing changes. What only a sandbox with images of its
// own uses comes into that one's store, when it is wanted there.
func (s *Store) Pull(ctx context.Context, reference string) (Listed, error) {
	ref, err := parseReference(reference)
	if err != nil {
		return Listed{}, err
	}
	kept, ok, err := s.pullKept(ctx, reference, ref)
	if _, both := s.pin(ref); err != nil || ok && !both {
		return kept, wrap(err, "pull image %q", reference)
	}
	got, err := s.pulls.do(ctx, ref.Name()+"@", 0, func(ctx context.Context, j *job) (pulled, error) {
		return s.pullNow(ctx, j, ref, Pin{Asked: true})
	})
	if err != nil {
		return Listed{}, wrap(err, "pull image %q", reference)
	}
	// A function's first load may have begun the pull.
	got.pin.Asked = true
	if got.pin, err = s.setPin(ctx, ref, got.pin); err != nil {
		return Listed{}, err
	}
	return s.listed(ctx, got.pin.Reference)
}

// pullNow pulls a reference, at want.Digest where that is set, and pins it.
func (s *Store) pullNow(ctx context.Context, j *job, ref name.Reference, want Pin) (pulled, error) {
	repo, err := s.registry.Repository(ctx, ref.Context())
	if err != nil {
		return pulled{}, err
	}
	at := want.Digest
	if at == "" {
		at = ref.Identifier()
	}
	manifest, err := repo.Manifest(ctx, at)
	if err != nil {
		return pulled{}, err
	}
	b, err := openBundle(ctx, remote{repo, j}, manifest.Body, s.platform)
	if err != nil {
		return pulled{}, err
	}
	for _, l := range b.layers {
		j.size.Add(l.size)
	}
	rec, err := s.importBundle(ctx, b)
	if err != nil {
		return pulled{}, err
	}
	pin := Pin{Reference: ref.Name(), Digest: manifest.Digest, Image: b.id, Pulled: time.Now().UTC().Round(time.Second), Asked: want.Asked}
	pin, err = s.setPin(ctx, ref, pin)
	return pulled{pin, rec}, err
}

// remote is a repository as an origin of blobs.
type remote struct {
	repo *registry.Repository
	job  *job
}

func (r remote) blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	if d.MediaType.IsIndex() || d.MediaType.IsImage() {
		m, err := r.repo.Manifest(ctx, d.Digest.String())
		if err != nil {
			return nil, err
		}
		return m.Reader(), nil
	}
	body, err := r.repo.Blob(ctx, d.Digest.String(), d.Size)
	if err != nil {
		return nil, err
	}
	return counted{body, r.job}, nil
}

// A counted body tells its job how far it is.
type counted struct {
	io.ReadCloser
	job *job
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.job.got.Add(int64(n))
	return n, err
}
