package image

import (
	"context"
	"io"
	"os"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/registry"
)

// layoutSource is the scheme "oci": a folder with an OCI image layout (OCI
// image-spec, image-layout.md).
type layoutSource struct{ store *Store }

func (l layoutSource) assemble(ctx context.Context, a *assembly, fn *faas.Function) (faas.ImageConfig, error) {
	rec, err := l.load(ctx, fn.Image.Location)
	if err != nil {
		return faas.ImageConfig{}, wrap(err, "image %q", fn.Image)
	}
	a.base = rec.Tree
	return rec.Config, nil
}

func (l layoutSource) inputs(fn *faas.Function) []string { return []string{fn.Image.Location} }

func (l layoutSource) load(ctx context.Context, dir string) (imageRecord, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return imageRecord{}, faas.Errorf(faas.KindInvalid, "open OCI layout: %w", err)
	}
	defer func() { _ = root.Close() }()
	o := layout{root}
	index, err := o.index()
	if err != nil {
		return imageRecord{}, err
	}
	b, err := openBundle(ctx, o, index, l.store.platform)
	if err != nil {
		return imageRecord{}, err
	}
	if rec, ok := l.store.knownImage(b.id); ok {
		return rec, nil
	}
	return l.store.importBundle(ctx, b)
}

// layout is an OCI layout as an origin of blobs. All is opened below its root.
type layout struct{ root *os.Root }

func (l layout) index() ([]byte, error) {
	f, err := l.open("index.json")
	if err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "it is no OCI layout: %w", err)
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, registry.MaxManifest+1))
	if err == nil && len(body) > registry.MaxManifest {
		err = faas.Errorf(faas.KindInvalid, "index.json is over %d bytes", registry.MaxManifest)
	}
	return body, err
}

func (l layout) open(name string) (*os.File, error) {
	f, _, err := openRegular(func() (*os.File, error) {
		return l.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	})
	return f, err
}

func (l layout) blob(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	f, err := l.open(path.Join("blobs", d.Digest.Algorithm, d.Digest.Hex))
	if err != nil {
		return nil, wrap(err, "blob %s", d.Digest)
	}
	return f, nil
}
