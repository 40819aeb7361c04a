package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"

	"github.com/unifaas/unifaas/internal/faas"
)

// kept returns the image in Docker's store that rev is bound to, pulled again
// if it is gone. A revision that is bound to none has the one of its name.
func (s *images) kept(ctx context.Context, rev *faas.Revision) (client.ImageInspectResult, error) {
	wanted := keptName(rev)
	found, err := s.engine.ImageInspect(ctx, wanted)
	if !errdefs.IsNotFound(err) {
		return found, err
	}
	if isID(wanted) {
		return found, faas.Errorf(faas.KindUnavailable,
			"image %q (%s) is gone from Docker's store, and it came from no registry; build it again and deploy", rev.Function.Image, wanted)
	}
	if err := s.fetch(ctx, wanted); err != nil {
		return found, err
	}
	return s.engine.ImageInspect(ctx, wanted)
}

// keptName is what Docker knows rev's image by.
func keptName(rev *faas.Revision) string {
	if rev.Image.Kept != "" {
		return rev.Image.Kept
	}
	return rev.Function.Image.Location
}

// fetch pulls an image.
func (s *images) fetch(ctx context.Context, ref string) error {
	auth, err := credentials(ref)
	if err != nil {
		return err
	}
	answer, err := s.engine.ImagePull(ctx, ref, client.ImagePullOptions{RegistryAuth: auth})
	if err == nil {
		err = answer.Wait(ctx)
	}
	if err != nil {
		return pullError(ref, err)
	}
	return nil
}

// pullError gives a failed pull its kind: that there is no such image stays
// so, all else may pass. Some Engines don't tell a refusal from a failure.
func pullError(ref string, err error) error {
	kind := faas.KindUnavailable
	switch {
	case away(err), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errdefs.IsNotFound(err), errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err), errdefs.IsInvalidArgument(err):
		kind = faas.KindInvalid
	}
	return faas.Errorf(kind, "image %q is not in Docker's store and can't be pulled: %w; check its name, or `docker login` to its registry", ref, err)
}

// credentials returns what Docker's configuration file has for ref's registry,
// as the Engine's API takes it.
func credentials(ref string) (string, error) {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return "", faas.Errorf(faas.KindInvalid, "image %q: %w", ref, err)
	}
	found, err := authn.DefaultKeychain.Resolve(parsed.Context())
	if err != nil {
		return "", fmt.Errorf("read Docker's credentials: %w", err)
	}
	c, err := found.Authorization()
	if err != nil {
		return "", fmt.Errorf("read Docker's credentials: %w", err)
	}
	return authconfig.Encode(registry.AuthConfig{
		Username: c.Username, Password: c.Password, Auth: c.Auth,
		IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken,
		ServerAddress: parsed.Context().RegistryStr(),
	})
}

// eachMessage reads a stream of the Engine's JSON messages.
func eachMessage(r io.Reader, use func(*jsonstream.Message) error) error {
	decoder := json.NewDecoder(r)
	for {
		var m jsonstream.Message
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := use(&m); err != nil {
			return err
		}
	}
}
