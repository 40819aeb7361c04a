package image

import (
	"bytes"
	"context"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/registry"
)

// A bundle is one image for this machine, wherever its parts are.
type bundle struct {
	id     string // SHA-256 of its configuration, in hexadecimal, which fixes all the rest
	layers []packed
	// config fetches the configuration.
	config func(ctx context.Context) (*imageFile, error)
}

// packed is a layer that is to be had somewhere.
type packed struct {
	digest string // "sha256:..." as it is packed; "" when nobody says
	size   int64  // bytes as it is packed
	open   func(ctx context.Context) (io.ReadCloser, error)
}

// An origin has blobs by their digest. What it returns need not be verified.
type origin interface {
	blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
}

// maxIndexes is how deep indexes may lie in each other.
const maxIndexes = 4

// open finds the image for p in a manifest or an index.
func openBundle(ctx context.Context, o origin, body []byte, p platform) (*bundle, error) {
	for range maxIndexes {
		kind, err := kindOf(body)
		if err != nil {
			return nil, err
		}
		if kind == manifestKind {
			return bundleOf(o, body, p)
		}
		index, err := v1.ParseIndexManifest(bytes.NewReader(body))
		if err != nil {
			return nil, faas.Errorf(faas.KindInvalid, "its index is damaged: %w", err)
		}
		chosen := p.choose(index.Manifests)
		if chosen == nil {
			chosen = onlyOne(index.Manifests)
		}
		if chosen == nil {
			return nil, wrongPlatform(p, describe(index.Manifests))
		}
		if body, err = readBlob(ctx, o, *chosen); err != nil {
			return nil, err
		}
	}
	return nil, faas.Errorf(faas.KindInvalid, "its index leads to indexes only")
}

// onlyOne returns the only manifest of an index when that says nothing about
// its platform: an OCI layout's outer index does not.
func onlyOne(manifests []v1.Descriptor) *v1.Descriptor {
	var one *v1.Descriptor
	for i := range manifests {
		if manifests[i].Platform != nil || one != nil && one.Digest != manifests[i].Digest {
			return nil
		}
		one = &manifests[i]
	}
	return one
}

func bundleOf(o origin, body []byte, p platform) (*bundle, error) {
	m, err := v1.ParseManifest(bytes.NewReader(body))
	if err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "its manifest is damaged: %w", err)
	}
	if m.Config.Digest.Algorithm != "sha256" {
		return nil, faas.Errorf(faas.KindInvalid, "it is not an image: its manifest names no configuration")
	}
	b := &bundle{id: m.Config.Digest.Hex}
	b.config = func(ctx context.Context) (*imageFile, error) {
		text, err := readBlob(ctx, o, m.Config)
		if err != nil {
			return nil, err
		}
		return parseImageFile(text, p)
	}
	for _, d := range m.Layers {
		if d.Digest.Algorithm != "sha256" {
			return nil, faas.Errorf(faas.KindInvalid, "layer %s is named by something else than its SHA-256", d.Digest)
		}
		b.layers = append(b.layers, packed{
			digest: d.Digest.String(), size: d.Size,
			open: func(ctx context.Context) (io.ReadCloser, error) { return o.blob(ctx, d) },
		})
	}
	return b, nil
}

// readBlob reads a small blob whole and verifies it.
func readBlob(ctx context.Context, o origin, d v1.Descriptor) ([]byte, error) {
	if d.Size < 0 || d.Size > registry.MaxManifest {
		return nil, faas.Errorf(faas.KindInvalid, "blob %s has %d bytes; the limit is %d", d.Digest, d.Size, registry.MaxManifest)
	}
	r, err := o.blob(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(verify(r, d.Digest.String(), d.Size))
}

type documentKind int

const (
	manifestKind documentKind = iota
	indexKind
)

// kindOf tells a manifest from an index by what it says or, as both leave
// that out sometimes, by what it has.
func kindOf(body []byte) (documentKind, error) {
	doc, err := parseDocument(body)
	if err != nil {
		return 0, err
	}
	switch types.MediaType(doc.MediaType) {
	case types.OCIImageIndex, types.DockerManifestList:
		return indexKind, nil
	case types.OCIManifestSchema1, types.DockerManifestSchema2:
		return manifestKind, nil
	case "":
	default:
		return 0, faas.Errorf(faas.KindInvalid, "it is of the kind %q, not an image", doc.MediaType)
	}
	switch {
	case doc.SchemaVersion != 2:
		return 0, faas.Errorf(faas.KindInvalid, "its manifest is of version %d; push it again with a newer tool", doc.SchemaVersion)
	case doc.Manifests != nil:
		return indexKind, nil
	default:
		return manifestKind, nil
	}
}
