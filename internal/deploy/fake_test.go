package deploy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/faas"
)

// images digests the file that an image is, so that another content is
// another revision.
type images struct {
	mu  sync.Mutex
	err error // of the next Resolve
}

func (i *images) fail(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.err = err
}

func (i *images) Resolve(_ context.Context, fn *faas.Function) (faas.Image, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.err; err != nil {
		i.err = nil
		return faas.Image{}, err
	}
	if fn.Image.Scheme == "registry" {
		return faas.Image{Digest: "sha256:" + fn.Image.Location}, nil
	}
	content, err := os.ReadFile(fn.Image.Location)
	if err != nil {
		return faas.Image{}, faas.Errorf(faas.KindInvalid, "read image: %w", err)
	}
	sum := sha256.Sum256(content)
	return faas.Image{Digest: "sha256:" + hex.EncodeToString(sum[:])}, nil
}

func (*images) Inputs(*faas.Function) []string { return nil }

// platform is a catalog, which is real, and instances, which are not.
type platform struct {
	catalog *catalog.Catalog

	mu      sync.Mutex
	folder  map[string]string // name -> file, of functions from elsewhere
	tryErr  error
	onTry   func(ctx context.Context) // called while an instance is tried
	tried   int
	serving int // tried instances that were taken over
	stopped int
	drain   chan struct{} // nil: at once
}

func (p *platform) Try(ctx context.Context, _ *faas.Revision) (func(bool), error) {
	p.mu.Lock()
	onTry, err := p.onTry, p.tryErr
	p.tried++
	p.mu.Unlock()
	if onTry != nil {
		onTry(ctx)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return func(serve bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if serve {
			p.serving++
		} else {
			p.stopped++
		}
	}, nil
}

func (p *platform) Served(ctx context.Context, ref faas.Ref, digest string) error {
	reached := make(chan struct{}, 1)
	p.catalog.Watch(func(s *catalog.Snapshot) {
		st, ok := s.Status(ref.String())
		if digest == "" && !ok || ok && st.Err == nil && st.Revision != nil && st.Revision.Digest == digest {
			select {
			case reached <- struct{}{}:
			default:
			}
		}
	})
	select {
	case <-reached:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *platform) Drained(ctx context.Context, _ faas.Ref) error {
	if p.drain == nil {
		return nil
	}
	select {
	case <-p.drain:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *platform) Elsewhere(ref faas.Ref) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.folder[ref.Name]
}

// A rig is a deployer with all around it.
type rig struct {
	*Deployer
	dir      string
	images   *images
	platform *platform
}

// newRig opens what is deployed in dir and serves it.
func newRig(t *testing.T, dir string) *rig {
	t.Helper()
	store, err := OpenStore(StoreOptions{Dir: dir, Sandboxes: faas.Sandboxes()})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{dir: dir, images: &images{}, platform: &platform{folder: map[string]string{}}}
	r.platform.catalog = catalog.New(catalog.Options{Source: store, Images: store.Images(r.images)})
	if err := r.platform.catalog.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Deployer = New(Options{Store: store, Images: r.images, Platform: r.platform, Limits: Limits{Bytes: 1 << 20, Files: 100}})
	t.Cleanup(r.close)
	return r
}

func (r *rig) close() {
	r.Stop()
	r.platform.catalog.Stop()
}

// request is a deploy of a function whose program is content.
func request(t *testing.T, name, content, toml string) Request {
	t.Helper()
	return Request{
		Name: name, Source: "folder ./" + name, File: name + "/function.toml", Try: true,
		Bundle: bytes.NewReader(archive(t, file("function.toml", "image = \"file:./program\"\n"+toml), file("program", content))),
	}
}

// deploy deploys what must succeed.
func (r *rig) deploy(t *testing.T, name, content string) *Outcome {
	t.Helper()
	out, err := r.Deploy(t.Context(), request(t, name, content, ""))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// served is the program that requests for a function reach, "" for none.
func (r *rig) served(t *testing.T, name string) string {
	t.Helper()
	rev, err := r.platform.catalog.Lookup(name)
	if err != nil {
		return ""
	}
	content, err := os.ReadFile(rev.Function.Image.Location)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// onDisk are the deployments that a function has a folder of.
func (r *rig) onDisk(t *testing.T, name string) []int {
	t.Helper()
	found, err := numbers(filepath.Join(r.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return found
}
