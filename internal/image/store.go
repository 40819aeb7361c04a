package image

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/cas"
	"github.com/unifaas/unifaas/internal/image/closure"
)

// Options configure a [Store]. The zero value is usable.
type Options struct {
	Logger     *slog.Logger          // default: discard
	Registerer prometheus.Registerer // default: not registered
	// Path is where programs without a slash in their name are looked up;
	// default: the folders of the environment's PATH.
	Path []string
	// LinkerCache is ld.so's cache; default "/etc/ld.so.cache".
	LinkerCache string
	// Certificates are candidates for the bundle of CA certificates, the first
	// that exists is taken; default: where Debian, Fedora and Alpine have it.
	Certificates []string
}

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Path == nil {
		o.Path = filepath.SplitList(os.Getenv("PATH"))
	}
	if o.LinkerCache == "" {
		o.LinkerCache = "/etc/ld.so.cache"
	}
	if o.Certificates == nil {
		o.Certificates = []string{
			"/etc/ssl/certs/ca-certificates.crt",
			"/etc/pki/tls/certs/ca-bundle.crt",
			"/etc/ssl/cert.pem",
		}
	}
}

// A source makes root file systems from one scheme of image sources.
type source interface {
	// assemble puts the image into a and says how it is run.
	assemble(ctx context.Context, a *assembly, fn *faas.Function) (faas.ImageConfig, error)
	// inputs are the paths that the image is made from, there or not.
	inputs(fn *faas.Function) []string
}

// A Store resolves image sources and keeps the results. Its methods may be
// called concurrently, and several processes may use one folder.
type Store struct {
	cas      *cas.Store
	contents *contents
	logger   *slog.Logger
	metrics  *metrics
	sources  map[string]source // by scheme
}

// Open opens the store in the folder dir, made where it is missing, and
// cleans up after a crash.
func Open(dir string, opts Options) (*Store, error) {
	opts.setDefaults()
	c, err := cas.Open(dir)
	if err != nil {
		return nil, err
	}
	finder := closure.NewFinder(opts.LinkerCache, opts.Path)
	s := &Store{
		cas:      c,
		contents: newContents(),
		logger:   opts.Logger,
		metrics:  newMetrics(opts.Registerer),
		sources: map[string]source{
			"file": &binarySource{finder: finder, certificates: opts.Certificates},
			"dir":  dirSource{},
		},
	}
	return s, nil
}

// Resolve binds a function to the content of its image, which it imports into
// the store where it is missing. It is idempotent and cheap when nothing has
// changed. The kinds of its errors: invalid (the source is wrong and stays so
// until it is changed), busy (it is being written to, or the disk is full:
// try again), unavailable (no such source in this build).
func (s *Store) Resolve(ctx context.Context, fn *faas.Function) (faas.Image, error) {
	start := time.Now()
	img, err := s.resolve(ctx, fn)
	s.metrics.observe(err, time.Since(start))
	if err != nil {
		return faas.Image{}, err
	}
	return img, nil
}

func (s *Store) resolve(ctx context.Context, fn *faas.Function) (faas.Image, error) {
	switch {
	case isRawVM(fn):
		return s.resolveRawVM(ctx, fn)
	case keepsOwnImages(fn):
		return referenceImage(fn.Image), nil
	}
	src, ok := s.sources[fn.Image.Scheme]
	if !ok {
		return faas.Image{}, faas.Errorf(faas.KindUnavailable,
			"image %q: sources of the kind %q are not in this build yet; use file: or dir:", fn.Image, fn.Image.Scheme)
	}
	a := s.newAssembly()
	defer a.close()
	config, err := src.assemble(ctx, a, fn)
	if err != nil {
		return faas.Image{}, err
	}
	if err := a.addFiles(ctx, fn.Files); err != nil {
		return faas.Image{}, err
	}
	if err := a.verify(); err != nil {
		return faas.Image{}, err
	}
	digest, err := s.cas.Commit(ctx, a.tree, a.opener, a.verify)
	if err != nil {
		return faas.Image{}, err
	}
	rootfs, ok := s.cas.Rootfs(digest)
	if !ok {
		return faas.Image{}, faas.Errorf(faas.KindBusy, "image %q was removed from the store while it was being resolved", fn.Image)
	}
	return faas.Image{Digest: imageDigest(digest, config), Rootfs: rootfs, Config: config}, nil
}

// Inputs returns the absolute paths of the files and folders that fn's image
// is made from, whether they exist or not. When one of them changes, Resolve
// may have another result.
func (s *Store) Inputs(fn *faas.Function) []string {
	var paths []string
	if isRawVM(fn) {
		paths = append(paths, fn.VM.Kernel, fn.VM.Image)
	} else if src, ok := s.sources[fn.Image.Scheme]; ok {
		paths = src.inputs(fn)
	}
	for _, outside := range fn.Files {
		paths = append(paths, outside)
	}
	return paths
}

// Prune removes what no image of keep needs and nobody has resolved within
// grace. See [cas.Store.Prune].
func (s *Store) Prune(ctx context.Context, keep []faas.Image, grace time.Duration) (cas.Pruned, error) {
	kept := make(map[string]bool, len(keep))
	for _, img := range keep {
		if img.Rootfs != "" {
			kept[treeOf(img)] = true
		}
	}
	return s.cas.Prune(ctx, func(digest string) bool { return kept[digest] }, grace)
}

// Verify reads an image in the store whole and returns what is wrong with it.
// An image that is damaged goes with [Store.Remove].
func (s *Store) Verify(ctx context.Context, img faas.Image) error {
	return s.cas.Verify(ctx, treeOf(img))
}

// Remove takes an image that nothing runs on out of the store, with what is
// damaged of its content. The next Resolve makes it anew.
func (s *Store) Remove(ctx context.Context, img faas.Image) error {
	return s.cas.Remove(ctx, treeOf(img))
}

// treeOf returns the digest of the tree that img's rootfs is of.
func treeOf(img faas.Image) string {
	return filepath.Base(strings.TrimSuffix(img.Rootfs, "/rootfs"))
}
