package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/unifaas/unifaas/internal/host/apt"

	kernels "github.com/unifaas/unifaas/internal/guest/linux/kernel"
)

// kernelPackage is the package that depends on Debian's newest kernel for
// virtual machines.
const kernelPackage = "linux-image-cloud-amd64"

// unpack downloads a package, unless it is there already, and unpacks it into
// a folder of its own below dir, which it returns.
func unpack(ctx context.Context, dir, name string) (string, error) {
	root := filepath.Join(dir, name)
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	if err := apt.Unpack(ctx, name, root); err != nil {
		return "", fmt.Errorf("package %s is needed; see -kernel and -busybox: %w", name, err)
	}
	return root, nil
}

// A kernel is a bootable image and the modules that belong to it.
type kernel struct {
	image   string
	modules kernels.Tree
}

// findKernel returns the newest kernel that apt offers. A guest of the tests
// needs modules that one of a function does not, so that the kernel is not
// taken from where those are kept.
func findKernel(ctx context.Context, dir string) (kernel, error) {
	name, err := apt.Newest(ctx, kernelPackage)
	if err != nil {
		return kernel{}, fmt.Errorf("ask apt for the newest kernel; name one with -kernel: %w", err)
	}
	root, err := unpack(ctx, dir, name)
	if err != nil {
		return kernel{}, err
	}
	images, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return kernel{}, fmt.Errorf("package %s has the kernels %q, want one", name, images)
	}
	k := kernel{image: images[0]}
	k.modules, err = kernels.FindModules(root)
	return k, err
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
