package image

import (
	"context"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/closure"
	"github.com/unifaas/unifaas/internal/image/tree"
)

// binarySource is the scheme "file": one program, with what it needs to run.
type binarySource struct {
	finder       *closure.Finder
	certificates []string
	closures     closureCache
}

// assemble puts the program at /NAME, and makes NAME known to PATH.
func (b *binarySource) assemble(ctx context.Context, a *assembly, fn *faas.Function) (faas.ImageConfig, error) {
	program, err := b.find(fn)
	if err != nil {
		return faas.ImageConfig{}, err
	}
	name := "/" + filepath.Base(fn.Image.Location)
	c, err := b.closures.get(b.finder, program)
	if err != nil {
		return faas.ImageConfig{}, err
	}
	for _, file := range c.Files {
		if err := a.mirror(ctx, file); err != nil {
			return faas.ImageConfig{}, err
		}
	}
	if err := b.addBase(ctx, a); err != nil {
		return faas.ImageConfig{}, err
	}
	if a.tree.Has(name) {
		return faas.ImageConfig{}, faas.Errorf(faas.KindInvalid,
			"program %q would be %q in the image, which is taken; give it another name", program, name)
	}
	if err := a.putHost(ctx, name, program, 0o755); err != nil {
		return faas.ImageConfig{}, err
	}
	if err := addLinks(a, c.Links); err != nil {
		return faas.ImageConfig{}, err
	}
	if err := addLinks(a, map[string]string{"/usr/local/bin" + name: name}); err != nil {
		return faas.ImageConfig{}, err
	}
	return faas.ImageConfig{Entrypoint: []string{name}, WorkDir: "/"}, nil
}

// addLinks adds symbolic links where there is nothing yet.
func addLinks(a *assembly, links map[string]string) error {
	paths := make([]string, 0, len(links))
	for p := range links {
		paths = append(paths, p)
	}
	sort.Strings(paths)
	for _, p := range paths {
		if a.tree.Has(p) {
			continue
		}
		if err := a.put(p, tree.Node{Type: tree.Symlink, Target: links[p]}); err != nil {
			return err
		}
	}
	return nil
}

// find returns the program's absolute path. One without a slash is looked up
// in the function's folder first, then in PATH.
func (b *binarySource) find(fn *faas.Function) (string, error) {
	location := fn.Image.Location
	if strings.Contains(location, "/") {
		return location, nil
	}
	if fn.Dir != "" {
		p := filepath.Join(fn.Dir, location)
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() {
			return p, nil
		}
	}
	if p, ok := b.finder.LookPath(location); ok {
		return p, nil
	}
	return "", faas.Errorf(faas.KindInvalid, "program %q is neither in the function's folder %q nor in PATH; build or install it",
		location, fn.Dir)
}

func (b *binarySource) inputs(fn *faas.Function) []string {
	location := fn.Image.Location
	var paths []string
	if !strings.Contains(location, "/") {
		paths = append(paths, filepath.Join(fn.Dir, location))
	}
	if p, err := b.find(fn); err == nil {
		paths = append(paths, p)
		paths = append(paths, b.closures.files(p)...)
	} else if filepath.IsAbs(location) {
		paths = append(paths, location)
	}
	return append(paths, b.certificates...)
}
