package image

import (
	"context"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/unifaas/unifaas/internal/faas"
)

// Current asks the registry what the tag of fn's image means now and returns
// the reference with that digest, which means the same for ever. It is ""
// where there is no tag to ask for. What is pinned stays as it is.
func (s *Store) Current(ctx context.Context, fn *faas.Function) (string, error) {
	if fn.Image.Scheme != "registry" {
		return "", nil
	}
	ref, err := parseReference(fn.Image.Location)
	if err != nil {
		return "", err
	}
	if _, ok := ref.(name.Digest); ok {
		return "", nil
	}
	if keepsOwnImages(fn) {
		return s.currentKept(ctx, fn, ref)
	}
	repo, err := s.registry.Repository(ctx, ref.Context())
	if err != nil {
		return "", wrap(err, "image %q", fn.Image)
	}
	manifest, err := repo.Manifest(ctx, ref.Identifier())
	if err != nil {
		return "", wrap(err, "image %q", fn.Image)
	}
	return ref.Context().Digest(manifest.Digest).Name(), nil
}
