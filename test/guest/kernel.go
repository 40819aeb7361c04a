package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// kernelPackage is the package that depends on Debian's newest kernel for
// virtual machines.
const kernelPackage = "linux-image-cloud-amd64"

// unpack downloads a package, unless it is there already, and unpacks it into
// a folder of its own below dir, which it returns. Nothing is installed: the
// hooks of a kernel's package would change how this machine boots.
func unpack(ctx context.Context, dir, name string) (string, error) {
	root := filepath.Join(dir, name)
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return "", fmt.Errorf("package %s is needed, and there is no apt to download it with; see -kernel and -busybox: %w", name, err)
	}
	work, err := os.MkdirTemp(dir, ".new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	if err := command(ctx, work, nil, "apt-get", "download", name); err != nil {
		return "", fmt.Errorf("download package %s (apt-get update may help): %w", name, err)
	}
	debs, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(debs) != 1 {
		return "", fmt.Errorf("download package %s: got %q, %w", name, debs, err)
	}
	content := filepath.Join(work, "content")
	if err := command(ctx, work, nil, "dpkg-deb", "-x", debs[0], content); err != nil {
		return "", err
	}
	return root, os.Rename(content, root)
}

// A kernel is a bootable image and the modules that belong to it.
type kernel struct {
	image   string
	modules map[string]string // path of each module's file, by name
}

// findKernel returns the newest kernel that apt offers.
func findKernel(ctx context.Context, dir string) (kernel, error) {
	out, err := exec.CommandContext(ctx, "apt-cache", "depends", "--important", kernelPackage).Output()
	if err != nil {
		return kernel{}, fmt.Errorf("ask apt for the newest kernel; name one with -kernel: %w", err)
	}
	_, name, _ := strings.Cut(string(out), "Depends: ")
	name, _, _ = strings.Cut(name, "\n")
	if name = strings.TrimSpace(name); name == "" {
		return kernel{}, fmt.Errorf("apt knows no package %s; name a kernel with -kernel", kernelPackage)
	}
	root, err := unpack(ctx, dir, name)
	if err != nil {
		return kernel{}, err
	}
	images, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return kernel{}, fmt.Errorf("package %s has the kernels %q, want one", name, images)
	}
	k := kernel{image: images[0], modules: map[string]string{}}
	err = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if module, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			k.modules[moduleName(module)] = path
		}
		return err
	})
	return k, err
}

// moduleName is how modules name each other: both characters mean the same.
func moduleName(file string) string { return strings.ReplaceAll(file, "-", "_") }

// withNeeded returns modules and those that they need, in the order in which
// they must be loaded.
func (k kernel) withNeeded(modules []string) ([]string, error) {
	var order []string
	for _, name := range modules {
		path, ok := k.modules[moduleName(name)]
		if !ok {
			return nil, fmt.Errorf("the kernel has no module %q", name)
		}
		info, err := moduleInfo(path)
		if err != nil {
			return nil, fmt.Errorf("read module %q: %w", name, err)
		}
		needed, err := k.withNeeded(needs(info))
		if err != nil {
			return nil, err
		}
		for _, n := range append(needed, moduleName(name)) {
			if !slices.Contains(order, n) {
				order = append(order, n)
			}
		}
	}
	return order, nil
}

// moduleInfo reads a module's section of "name=value" strings, which end with
// a NUL.
func moduleInfo(path string) (string, error) {
	file, err := elf.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	section := file.Section(".modinfo")
	if section == nil {
		return "", errors.New("it is no kernel module")
	}
	data, err := section.Data()
	return string(data), err
}

func needs(info string) []string {
	for entry := range strings.SplitSeq(info, "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			return strings.Split(list, ",")
		}
	}
	return nil
}

// command runs a program whose output is only of interest when it fails.
func command(ctx context.Context, dir string, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}
