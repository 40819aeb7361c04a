package docker

import (
	"context"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/client"

	"github.com/unifaas/unifaas/internal/faas"
)

// KeptImage returns the image that ref names in Docker's store. Of an image
// that was only built here the digest in ref may be its ID. The error's kind is
// not-found when there is none.
func (d *Driver) KeptImage(ctx context.Context, ref string) (faas.Kept, error) {
	if d.broken != nil {
		return faas.Kept{}, d.broken
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	found, err := d.engine.ImageInspect(ctx, ref)
	if _, id, ok := strings.Cut(ref, "@"); ok && missing(err) {
		found, err = d.engine.ImageInspect(ctx, id)
	}
	if missing(err) {
		return faas.Kept{}, faas.Errorf(faas.KindNotFound, "image %q is not in Docker's store", ref)
	} else if err != nil {
		return faas.Kept{}, d.engine.explain(err, "look up image "+strconv.Quote(ref))
	}
	return faas.Kept{ID: found.ID, Reference: fromRegistry(ref, found.RepoDigests), Port: exposedPort(found)}, nil
}

// missing reports whether an image is not in Docker's store; one whose name
// Docker does not take can't be.
func missing(err error) bool { return errdefs.IsNotFound(err) || errdefs.IsInvalidArgument(err) }

// isID tells an image's ID from a reference.
func isID(name string) bool {
	return strings.HasPrefix(name, "sha256:") && !strings.Contains(name, "@")
}

// fromRegistry returns the one of digests, references by which registries know
// an image, that is of ref's repository; "" if there is none.
func fromRegistry(ref string, digests []string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ""
	}
	for _, d := range digests {
		of, err := reference.ParseNormalizedNamed(d)
		if err == nil && of.Name() == named.Name() {
			return d
		}
	}
	return ""
}

// exposedPort returns the lowest TCP port that an image exposes, 0 for none.
func exposedPort(image client.ImageInspectResult) int {
	lowest := 0
	if image.Config == nil {
		return 0
	}
	for exposed := range image.Config.ExposedPorts {
		number, protocol, found := strings.Cut(exposed, "/")
		first, _, _ := strings.Cut(number, "-")
		port, err := strconv.ParseUint(first, 10, 16)
		if err == nil && port > 0 && (!found || protocol == "tcp") && (lowest == 0 || int(port) < lowest) {
			lowest = int(port)
		}
	}
	return lowest
}
