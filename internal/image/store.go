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
	"github.com/unifaas/unifaas/internal/image/layer"
	"github.com/unifaas/unifaas/internal/image/registry"
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
	// Limits bound what an image made of layers may unpack to.
	Limits layer.Limits
	// Registry says how registries are talked to.
	Registry registry.Options
	// Patience is how long Resolve waits for an image that is being pulled
	// before it returns an error of kind busy; the pull goes on. Default 10 s.
	Patience time.Duration
	// Keeper tells what sandboxes have that keep images of their own; default:
	// nobody does, and a registry is asked.
	Keeper Keeper
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
	if o.Limits.Bytes <= 0 {
		o.Limits.Bytes = defaultBytes
	}
	if o.Patience <= 0 {
		o.Patience = 10 * time.Second
	}
}

// defaultBytes is that of [layer.Limits].
const defaultBytes = 16 << 30

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
	limits   layer.Limits
	platform platform
	patience time.Duration
	registry *registry.Client
	keeper   Keeper
	pulls    *pulls
	flights  flights
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
		limits:   opts.Limits,
		platform: hostPlatform(),
		patience: opts.Patience,
		registry: registry.NewClient(opts.Registry),
		keeper:   opts.Keeper,
		pulls:    newPulls(),
	}
	s.sources = map[string]source{
		"file":           &binarySource{finder: finder, certificates: opts.Certificates},
		"dir":            dirSource{},
		"oci":            layoutSource{s},
		"docker-archive": archiveSource{s},
		"registry":       registrySource{s},
	}
	return s, nil
}

// Close ends pulls that are under way and waits for them. The store must not
// be used any more.
func (s *Store) Close() error {
	s.pulls.close()
	s.registry.Close()
	return nil
}

// Resolve binds a function to the content of its image, which it imports into
// the store where it is missing. It is idempotent and cheap when nothing has
// changed: a registry is asked only for a reference that the store does not
// know; see [Store.Pull]. The kinds of its errors: invalid and not-found (the
// source is wrong and stays so until it is changed), busy and timeout (it is
// being written to or pulled, the disk is full, the registry fails: try
// again), unavailable (there is no such source).
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
		return s.resolveKept(ctx, fn)
	}
	src, ok := s.sources[fn.Image.Scheme]
	if !ok {
		return faas.Image{}, faas.Errorf(faas.KindUnavailable,
			"image %q: there are no sources of the kind %q", fn.Image, fn.Image.Scheme)
	}
	a := s.newAssembly()
	defer a.close()
	config, err := src.assemble(ctx, a, fn)
	if err != nil {
		return faas.Image{}, err
	}
	digest, err := a.commit(ctx, fn.Files)
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
	} else if ref, err := parseReference(fn.Image.Location); keepsOwnImages(fn) && err == nil {
		paths = []string{s.cas.RecordPath(keptKind, pinName(ref))}
	} else if src, ok := s.sources[fn.Image.Scheme]; ok {
		paths = src.inputs(fn)
	}
	for _, outside := range fn.Files {
		paths = append(paths, outside)
	}
	return paths
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
