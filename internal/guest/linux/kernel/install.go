package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/unifaas/unifaas/internal/host/apt"
)

// debianPackage depends on Debian's newest kernel for virtual machines.
const debianPackage = "linux-image-cloud-amd64"

// Install downloads Debian's newest kernel for virtual machines, unless it is
// there, and keeps it. Nothing is installed on this machine.
func (s *Store) Install(ctx context.Context) (*Kernel, error) {
	k, err := s.install(ctx)
	if err != nil {
		return nil, fmt.Errorf("install Debian's kernel: %w", err)
	}
	return k, nil
}

func (s *Store) install(ctx context.Context) (*Kernel, error) {
	unlock, err := s.lock(ctx, shortWork)
	if err != nil {
		return nil, err
	}
	defer unlock()
	name, err := apt.Newest(ctx, debianPackage)
	if errors.Is(err, apt.ErrMissing) {
		return nil, fmt.Errorf("%w; unifaas kernel add takes a kernel of your own", err)
	}
	if err != nil {
		return nil, err
	}
	version, err := apt.Version(ctx, name)
	if err != nil {
		return nil, err
	}
	source := name + " " + version
	if k, err := s.bySource(source); err != nil || k != nil {
		return k, err
	}
	dir, remove, err := s.workspace(shortWork)
	if err != nil {
		return nil, err
	}
	defer remove()
	root := filepath.Join(dir, "package")
	if err := apt.Unpack(ctx, name, root); err != nil {
		return nil, err
	}
	final := filepath.Join(dir, "kernel")
	if err := os.Mkdir(final, 0o755); err != nil {
		return nil, err
	}
	return s.fromPackage(root, final, &Kernel{Kind: KindDebian, Source: source})
}

// fromPackage takes a kernel out of an unpacked package.
func (s *Store) fromPackage(root, dir string, k *Kernel) (*Kernel, error) {
	image, err := one(root, "vmlinuz-*")
	if err != nil {
		return nil, err
	}
	config, err := one(root, "config-*")
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(config)
	if err != nil {
		return nil, err
	}
	k.Config = parseConfig(string(text))
	tree, err := FindModules(root)
	if err != nil {
		return nil, err
	}
	if err := addModules(k, tree, dir); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(image)
	if err != nil {
		return nil, err
	}
	return s.put(dir, k, data)
}

// one returns the only file of a pattern in a package's folder boot.
func one(root, pattern string) (string, error) {
	files, err := filepath.Glob(filepath.Join(root, "boot", pattern))
	if err != nil || len(files) != 1 {
		return "", fmt.Errorf("the package has the files %q, want one /boot/%s", files, pattern)
	}
	return files[0], nil
}

// bySource returns the kernel that was made of source, nil when there is none.
func (s *Store) bySource(source string) (*Kernel, error) {
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	for _, k := range all {
		if k.Source == source {
			return k, nil
		}
	}
	return nil, nil
}

// Add keeps the operator's kernel, a bzImage or an ELF file for x86-64.
func (s *Store) Add(ctx context.Context, path string) (*Kernel, error) {
	k, err := s.add(ctx, path, &Kernel{Kind: KindOwn, Source: path})
	if err != nil {
		return nil, fmt.Errorf("add kernel %q: %w", path, err)
	}
	return k, nil
}

func (s *Store) add(ctx context.Context, path string, k *Kernel) (*Kernel, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxKernel {
		return nil, fmt.Errorf("it is no kernel (%v, %d bytes)", info.Mode().Type(), info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if _, _, err := Inspect(data); err != nil { // before anything is made
		return nil, err
	}
	unlock, err := s.lock(ctx, shortWork)
	if err != nil {
		return nil, err
	}
	defer unlock()
	dir, remove, err := s.workspace(shortWork)
	if err != nil {
		return nil, err
	}
	defer remove()
	return s.put(dir, k, data)
}
