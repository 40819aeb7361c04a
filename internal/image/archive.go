package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/registry"
)

// archiveSource is the scheme "docker-archive": what `docker save` writes. Its
// manifest.json names the configuration and the layers (moby,
// image/spec/v1.2.md).
type archiveSource struct{ store *Store }

func (s archiveSource) assemble(ctx context.Context, a *assembly, fn *faas.Function) (faas.ImageConfig, error) {
	rec, err := s.load(ctx, fn.Image.Location)
	if err != nil {
		return faas.ImageConfig{}, wrap(err, "image %q", fn.Image)
	}
	a.base = rec.Tree
	return rec.Config, nil
}

func (s archiveSource) inputs(fn *faas.Function) []string { return []string{fn.Image.Location} }

func (s archiveSource) load(ctx context.Context, file string) (imageRecord, error) {
	f, st, err := openRegular(func() (*os.File, error) {
		return os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0)
	})
	if err != nil {
		return imageRecord{}, err
	}
	defer f.Close()
	a, err := scanArchive(f, st.Size)
	if err != nil {
		return imageRecord{}, err
	}
	b, err := a.bundle(s.store.platform)
	if err != nil {
		return imageRecord{}, err
	}
	if rec, ok := s.store.knownImage(b.id); ok {
		return rec, nil
	}
	return s.store.importBundle(ctx, b)
}

// An archive knows where each file of a tar archive is.
type archive struct {
	file  *os.File
	parts map[string]part
}

type part struct {
	offset, size int64
	link         string // for links: to which part, and nothing else
}

// maxParts is more than the layers of an image need.
const maxParts = 16 * maxLayers

func scanArchive(f *os.File, size int64) (*archive, error) {
	a := &archive{file: f, parts: map[string]part{}}
	if magic := make([]byte, 2); readAt(f, magic) && bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return nil, faas.Errorf(faas.KindInvalid, "it is compressed; run `gunzip` on it")
	}
	r := tar.NewReader(f)
	for len(a.parts) <= maxParts {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			return nil, faas.Errorf(faas.KindInvalid, "it is no archive of docker save: %w", err)
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			// The reader does not read ahead: the file is where the content begins.
			offset, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, fmt.Errorf("seek in archive: %w", err)
			}
			if h.Size > size-offset {
				return nil, faas.Errorf(faas.KindInvalid, "it is truncated in %q", h.Name)
			}
			a.parts[name] = part{offset: offset, size: h.Size}
		case tar.TypeSymlink: // older versions have them for layers that come twice
			a.parts[name] = part{link: path.Join(path.Dir(name), h.Linkname)}
		case tar.TypeLink:
			a.parts[name] = part{link: path.Clean(h.Linkname)}
		}
	}
	return nil, faas.Errorf(faas.KindInvalid, "it has more than %d files", maxParts)
}

func readAt(f *os.File, p []byte) bool {
	_, err := f.ReadAt(p, 0)
	return err == nil
}

// open returns a part of the archive by its name.
func (a *archive) open(name string) (*io.SectionReader, error) {
	name = path.Clean(name)
	for range 2 {
		p, ok := a.parts[name]
		if !ok {
			return nil, faas.Errorf(faas.KindInvalid, "it has no %q", name)
		}
		if p.link == "" {
			return io.NewSectionReader(a.file, p.offset, p.size), nil
		}
		name = p.link
	}
	return nil, faas.Errorf(faas.KindInvalid, "%q is a link to a link", name)
}

// small reads a part whole.
func (a *archive) small(name string) ([]byte, error) {
	r, err := a.open(name)
	if err != nil {
		return nil, err
	}
	if r.Size() > registry.MaxManifest {
		return nil, faas.Errorf(faas.KindInvalid, "%q is over %d bytes", name, registry.MaxManifest)
	}
	return io.ReadAll(r)
}

// bundle returns the only image of the archive.
func (a *archive) bundle(p platform) (*bundle, error) {
	text, err := a.small("manifest.json")
	if err != nil {
		return nil, err
	}
	var images []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(text, &images); err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "its manifest.json is damaged: %w", err)
	}
	if len(images) != 1 {
		var tags []string
		for _, i := range images {
			tags = append(tags, i.RepoTags...)
		}
		return nil, faas.Errorf(faas.KindInvalid, "it has %d images (%s); save just one", len(images), strings.Join(tags, ", "))
	}
	config, err := a.small(images[0].Config)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(config)
	b := &bundle{id: hex.EncodeToString(sum[:])}
	b.config = func(context.Context) (*imageFile, error) { return parseImageFile(config, p) }
	for _, name := range images[0].Layers {
		r, err := a.open(name)
		if err != nil {
			return nil, err
		}
		b.layers = append(b.layers, packed{size: r.Size(), open: func(context.Context) (io.ReadCloser, error) {
			// Each reader has a position of its own.
			return io.NopCloser(io.NewSectionReader(r, 0, r.Size())), nil
		}})
	}
	return b, nil
}
