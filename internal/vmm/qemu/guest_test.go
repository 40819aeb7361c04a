package qemu_test

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

// kernelPackage depends on Debian's newest kernel for virtual machines.
const kernelPackage = "linux-image-cloud-amd64"

// A guest is a Linux system with testguest as its first process.
type guest struct{ kernel, initrd string }

// prepareGuest makes the guest, once for all tests of a run. The kernel is kept
// for other runs: it has 25 MB.
var prepareGuest = sync.OnceValues(func() (guest, error) {
	root, err := unpackKernel()
	if err != nil {
		return guest{}, err
	}
	images, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return guest{}, fmt.Errorf("kernels in %s: got %q, want one", root, images)
	}
	initrd := filepath.Join(tempDir, "initrd")
	return guest{images[0], initrd}, buildInitrd(initrd, root)
})

// needGuest skips the test where there is no guest to be had.
func needGuest(t testing.TB, monitor string) guest {
	t.Helper()
	g, err := prepareGuest()
	if err != nil {
		sandboxtest.Skip(t, monitor, sandboxtest.Missing{What: "a Linux kernel (" + err.Error() + ")", Remedy: "apt-get update, on Debian"})
	}
	return g
}

// unpackKernel downloads the kernel's package, unless it is there, and returns
// the folder of what is in it. Nothing is installed.
func unpackKernel() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	cache = filepath.Join(cache, "unifaas-test")
	depends, err := exec.Command("apt-cache", "depends", "--important", kernelPackage).Output()
	if err != nil {
		return "", fmt.Errorf("ask apt for the newest kernel: %w", err)
	}
	_, name, _ := strings.Cut(string(depends), "Depends: ")
	name, _, _ = strings.Cut(name, "\n")
	if name = strings.TrimSpace(name); name == "" {
		return "", fmt.Errorf("apt knows no package %s", kernelPackage)
	}
	root := filepath.Join(cache, name)
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(cache, ".new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	// QEMU reads it as another user.
	if err := os.Chmod(work, 0o755); err != nil {
		return "", err
	}
	if err := runIn(work, "apt-get", "download", name); err != nil {
		return "", err
	}
	debs, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(debs) != 1 {
		return "", fmt.Errorf("download package %s: got %q", name, debs)
	}
	content := filepath.Join(work, "content")
	if err := runIn(work, "dpkg-deb", "-x", debs[0], content); err != nil {
		return "", err
	}
	return root, os.Rename(content, root)
}

func runIn(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

// buildInitrd writes the guest's files: the program, and the kernel's modules
// for its devices.
func buildInitrd(path, kernel string) error {
	program := filepath.Join(filepath.Dir(path), "init")
	if err := runIn(".", "go", "build", "-o", program, "-ldflags", "-s -w", "./testguest"); err != nil {
		return err
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	var a archive
	for _, dir := range []string{"dev", "proc", "sys", "modules"} {
		a.add(dir, 0o040755, nil)
	}
	a.addDevice("dev/console", 5, 1)
	a.add("init", 0o100755, text)
	modules, err := findModules(kernel)
	if err != nil {
		return err
	}
	var order []string
	for _, wanted := range []string{"virtio_mmio", "virtio_pci", "virtio_blk", "virtio_net", "virtio_rng"} {
		if order, err = withNeeded(order, modules, wanted); err != nil {
			return err
		}
	}
	for _, name := range order {
		module, err := os.ReadFile(modules[name])
		if err != nil {
			return err
		}
		a.add("modules/"+name, 0o100644, module)
	}
	a.add("modules/order", 0o100644, []byte(strings.Join(order, "\n")))
	a.add("TRAILER!!!", 0, nil)
	return os.WriteFile(path, a.Bytes(), 0o644)
}

// findModules returns the path of each module, by name.
func findModules(root string) (map[string]string, error) {
	modules := map[string]string{}
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			modules[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	return modules, err
}

// withNeeded returns order with a module after those that it needs.
func withNeeded(order []string, modules map[string]string, name string) ([]string, error) {
	if strings.Contains(" "+strings.Join(order, " ")+" ", " "+name+" ") {
		return order, nil
	}
	file, err := elf.Open(modules[name])
	if err != nil {
		return nil, fmt.Errorf("module %q: %w", name, err)
	}
	defer file.Close()
	info, err := file.Section(".modinfo").Data()
	if err != nil {
		return nil, fmt.Errorf("module %q: %w", name, err)
	}
	for entry := range bytes.SplitSeq(info, []byte{0}) {
		list, ok := bytes.CutPrefix(entry, []byte("depends="))
		if !ok || len(list) == 0 {
			continue
		}
		for _, needed := range strings.Split(string(list), ",") {
			if order, err = withNeeded(order, modules, strings.ReplaceAll(needed, "-", "_")); err != nil {
				return nil, err
			}
		}
	}
	return append(order, name), nil
}

// An archive is in the form of an initramfs (Linux,
// Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct{ bytes.Buffer }

func (a *archive) add(name string, mode int, content []byte) { a.entry(name, mode, content, 0, 0) }

func (a *archive) addDevice(name string, major, minor int) {
	a.entry(name, 0o020600, nil, major, minor)
}

func (a *archive) entry(name string, mode int, content []byte, major, minor int) {
	fmt.Fprintf(a, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		a.Len(), mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name)+1, 0, name)
	a.align()
	a.Write(content)
	a.align()
}

func (a *archive) align() {
	for a.Len()%4 != 0 {
		a.WriteByte(0)
	}
}
