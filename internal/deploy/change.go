package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/faas"
)

// incoming is a bundle that has been received.
type incoming struct{ dir string }

// discard removes what is left of it.
func (i *incoming) discard() { _ = os.RemoveAll(i.dir) } // else at the next start

// receive unpacks a bundle where nothing looks at it.
func (d *Deployer) receive(ctx context.Context, r Request) (_ *incoming, err error) {
	select {
	case d.uploads <- struct{}{}:
		defer func() { <-d.uploads }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	parent := d.opts.Store.path(incomingFolder)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, r.Name+"-")
	if err != nil {
		return nil, err
	}
	i := &incoming{dir}
	defer func() {
		if err != nil {
			i.discard()
		}
	}()
	bundle := filepath.Join(dir, bundleFolder)
	if err := os.Mkdir(bundle, 0o700); err != nil {
		return nil, err
	}
	return i, unpack(&cancelable{ctx, r.Bundle}, bundle, d.opts.Limits)
}

// cancelable ends a reader with a context.
type cancelable struct {
	ctx context.Context //nolint:containedctx // it lives as long as one call
	r   io.Reader
}

func (c *cancelable) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}

// settle gives what was received its number and its place. Nothing names it
// yet. The function's lock is held.
func (d *Deployer) settle(r Request, in *incoming) (*revision, error) {
	s := d.opts.Store
	number, err := s.free(r.Name)
	if err != nil {
		return nil, err
	}
	m := &revision{dir: s.dir(r.Name, number), Deployment: Deployment{
		Number: number, Deployed: time.Now().UTC(), Source: r.Source, File: r.File,
	}}
	if m.File == "" {
		m.File = catalog.FileName
	}
	if err := os.MkdirAll(s.path(r.Name), 0o700); err != nil {
		return nil, err
	}
	if err := os.Rename(in.dir, m.dir); err != nil {
		return nil, err
	}
	if err := d.configure(m, r); err != nil {
		return nil, err
	}
	return m, nil
}

// configure reads the bundle's function.toml and puts the flags into it.
func (d *Deployer) configure(m *revision, r Request) error {
	text, err := readFunctionFile(filepath.Join(m.dir, bundleFolder), m.File)
	if err != nil {
		return err
	}
	sandboxes := d.opts.Store.opts.Sandboxes
	if m.function, err = decode(text, r.Name, m.dir, m.File, sandboxes); err != nil {
		return err
	}
	merged, err := r.Overrides.apply(text)
	if err != nil {
		return err
	}
	if m.function, err = decode(merged, r.Name, m.dir, m.File, sandboxes); err != nil {
		return inFlags(err)
	}
	if err := contain(filepath.Join(m.dir, bundleFolder), m.function); err != nil {
		return err
	}
	return writeFile(filepath.Join(m.dir, catalog.FileName), merged)
}

// readFunctionFile reads the function.toml of a bundle, which must be a file:
// a link could lead anywhere, and nothing has looked at it yet.
func readFunctionFile(bundle, shown string) ([]byte, error) {
	path := filepath.Join(bundle, catalog.FileName)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, faas.Errorf(faas.KindInvalid, "the bundle has no %s: write one that says at least which image, or deploy an image or a program", shown)
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, faas.Errorf(faas.KindInvalid, "%s is no regular file", shown)
	case info.Size() > catalog.MaxFileSize:
		return nil, faas.Errorf(faas.KindInvalid, "%s: larger than %d bytes", shown, catalog.MaxFileSize)
	}
	return os.ReadFile(path)
}

// bind pins and resolves the image of a deployment and writes down what it is.
func (d *Deployer) bind(ctx context.Context, name string, m *revision) (*faas.Revision, error) {
	if err := d.pin(ctx, name, m); err != nil {
		return nil, fmt.Errorf("deploy %q: %w", name, err)
	}
	img, err := d.resolve(ctx, d.opts.Images, m.function)
	if err != nil {
		return nil, fmt.Errorf("deploy %q: %w", name, err)
	}
	rev, err := catalog.NewRevision(m.function, img)
	if err != nil {
		return nil, err
	}
	m.Image, m.Digest, m.Revision = img, rev.Digest, rev.ID()
	return rev, writeJSON(filepath.Join(m.dir, deploymentFile), m.Deployment)
}

// resolve waits for an image that is being pulled.
func (d *Deployer) resolve(ctx context.Context, images catalog.Images, fn *faas.Function) (faas.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, d.opts.ImageTimeout)
	defer cancel()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		img, err := images.Resolve(ctx, fn)
		if faas.KindOf(err) != faas.KindBusy || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			return img, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return faas.Image{}, err
		}
	}
}

// pin replaces the tag of a registry's image by the digest that it has now: a
// tag that moves changes nothing until the next deploy.
func (d *Deployer) pin(ctx context.Context, name string, m *revision) error {
	if m.function.Image.Scheme != "registry" {
		return nil
	}
	reference, err := d.opts.Pin(ctx, m.function)
	if err != nil || reference == "" {
		return err
	}
	path := filepath.Join(m.dir, catalog.FileName)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if text, err = pinImage(text, reference); err != nil {
		return err
	}
	if err := writeFile(path, text); err != nil {
		return err
	}
	m.function, err = decode(text, name, m.dir, m.File, d.opts.Store.opts.Sandboxes)
	return err
}

// change tries a revision out, if it shall, and switches to it.
func (d *Deployer) change(ctx context.Context, rev *faas.Revision, next, old *revision, try bool) error {
	end := func(bool) {}
	if try {
		var err error
		if end, err = d.opts.Platform.Try(ctx, rev); err != nil {
			return err
		}
	}
	served := false
	defer func() { end(served) }()
	name := rev.Function.Ref.Name
	if err := syncFileSystem(next.dir); err != nil {
		return err
	}
	// From here on it does not matter whether whoever asked is still there.
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.opts.Store.switchTo(name, next, old); err != nil {
		return err
	}
	err := d.served(name, rev.Digest)
	served = err == nil
	return err
}

// served waits for a switch to reach the requests.
func (d *Deployer) served(name, digest string) error {
	ctx, cancel := context.WithTimeout(context.Background(), d.opts.SwitchTimeout)
	defer cancel()
	err := d.opts.Platform.Served(ctx, faas.NewRef(name), digest)
	if errors.Is(err, context.DeadlineExceeded) {
		return faas.Errorf(faas.KindTimeout, "the change is on disk but has not reached the requests after %s; see unifaas describe %s",
			d.opts.SwitchTimeout, name)
	}
	return err
}
