package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"

	"github.com/unifaas/unifaas/internal/faas"
)

// pull returns the image that rev is pinned to, or pins it to the one that
// its reference names now: Docker's own copy, or else the registry's.
func (s *images) pull(ctx context.Context, rev *faas.Revision) (client.ImageInspectResult, error) {
	ref := rev.Function.Image.Location
	pinned, err := s.pins.get(rev)
	if err != nil {
		return client.ImageInspectResult{}, err
	}
	wanted := ref
	if pinned != nil {
		wanted = pinned.ID
	}
	found, err := s.engine.ImageInspect(ctx, wanted)
	if errdefs.IsNotFound(err) {
		found, err = s.fetch(ctx, ref, pinned)
	}
	if err != nil || pinned != nil {
		return found, err
	}
	return found, s.pins.set(rev, pin{ID: found.ID, Digests: found.RepoDigests, Image: rev.Image.Digest})
}

// fetch pulls ref, or what it named when it was pinned.
func (s *images) fetch(ctx context.Context, ref string, pinned *pin) (client.ImageInspectResult, error) {
	source := ref
	if pinned != nil {
		if source = pinned.source(ref); source == "" {
			return client.ImageInspectResult{}, faas.Errorf(faas.KindUnavailable,
				"image %q (%s) is gone from Docker's store, and it came from no registry; build it again and deploy", ref, pinned.ID)
		}
	}
	auth, err := credentials(ref)
	if err != nil {
		return client.ImageInspectResult{}, err
	}
	answer, err := s.engine.ImagePull(ctx, source, client.ImagePullOptions{RegistryAuth: auth})
	if err == nil {
		err = answer.Wait(ctx)
	}
	if err != nil {
		return client.ImageInspectResult{}, pullError(ref, err)
	}
	return s.engine.ImageInspect(ctx, source)
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

// source returns the reference by which the pinned image can be pulled, "" if
// there is none.
func (p *pin) source(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ""
	}
	for _, d := range p.Digests {
		of, err := reference.ParseNormalizedNamed(d)
		if err == nil && of.Name() == named.Name() {
			return d
		}
	}
	return ""
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
