package vm_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/erofs"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest/linux/kernel"
	"github.com/unifaas/unifaas/internal/guest/linux/kernel/kerneltest"
	"github.com/unifaas/unifaas/internal/guest/raw"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
	"github.com/unifaas/unifaas/internal/sandbox/vm"
	"github.com/unifaas/unifaas/internal/vmm/all"
)

// registry is function.toml as the artefact's registry has it, but for the
// names of the guest's own words on its command line.
const registry = `keepalive = 100
concurrent-requests = 1
single-use = true

[vm]
kernel = "vmlinux"
image = "rootfs.img"
memory = 128
cpus = 1
cmdline = "console=ttyS0 quiet panic=-1 reboot=t root=/dev/vda ro rootfstype=erofs init=/init pci=%s guest.ip=%%ip guest.mask=%%netmask guest.gw=%%gateway guest.callback=%%callback guest.greeting=hello"
hypervisor = %s
`

// newRaw makes the kernel and disk that the artefact's scripts would have made.
// Debian's kernel has no driver of the disk without an initial file system,
// which the artefact's form can't name.
func newRaw(t *testing.T, hypervisor, pci string) *rig {
	t.Helper()
	if os.Geteuid() != 0 {
		sandboxtest.Skip(t, "vm", sandboxtest.NotRoot{What: "make networks of machines"})
	}
	kernels, err := kernel.NewStore(kerneltest.Dir(t, "vm")).List()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(kernels, func(k *kernel.Kernel) bool { return k.Kind == kernel.KindSmall })
	if i < 0 {
		sandboxtest.Skip(t, "vm", sandboxtest.Missing{What: "a kernel with the disk's driver built in", Remedy: "make one with unifaas kernel build and name its folder by " + kerneltest.Env})
	}
	dir := t.TempDir()
	rootfs := filepath.Join(dir, "rootfs")
	for _, name := range []string{"dev", "proc"} {
		if err := os.MkdirAll(filepath.Join(rootfs, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	buildArtefact(t, filepath.Join(rootfs, "init"))
	disk, err := os.Create(filepath.Join(dir, "rootfs.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if err := erofs.Write(t.Context(), disk, rootfs, erofs.Options{Directories: []string{"/dev", "/proc"}}); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(kernels[i].ELF(), filepath.Join(dir, "vmlinux")); err != nil {
		t.Fatal(err)
	}
	return rawRig(t, dir, fmt.Sprintf(registry, pci, hypervisor))
}

// buildArtefact builds the function.
func buildArtefact(t *testing.T, to string) {
	t.Helper()
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", to, "./testdata/artefact")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the function: %v\n%s", err, out)
	}
}

// rawRig prepares the function.toml in dir.
func rawRig(t *testing.T, dir, text string) *rig {
	t.Helper()
	fn, err := catalog.Decode([]byte(text), catalog.DecodeOptions{Ref: faas.NewRef("f"), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	// The artefact has no keys for these.
	if config := os.Getenv("UNIFAAS_TEST_CPU_CONFIG"); config != "" && fn.VM.VMM == "firecracker" {
		fn.VM.Hypervisor["cpu-config"] = config
	}
	if model := os.Getenv("UNIFAAS_TEST_CPU_MODEL"); model != "" && fn.VM.VMM != "firecracker" {
		fn.VM.Hypervisor["cpu-model"] = model
	}
	rev, err := catalog.NewRevision(fn, faas.Image{Digest: "sha256:" + strings.Repeat("0", 64)})
	if err != nil {
		t.Fatal(err)
	}
	return newRig(t, rev, func(host sandbox.Host) sandbox.Driver {
		return vm.New(vm.NewMachines(host, all.Monitors(host.StateDir)), raw.New(host.StateDir))
	})
}

// TestArtefactsMachines serves functions of the artefact's form on each
// monitor: called back, dialled, with a disk of their own.
func TestArtefactsMachines(t *testing.T) {
	for hypervisor, pci := range map[string]string{
		`{ type = "microvm", disk-type = "block", acpi = true, rtc = true, pit = false, pic = false, auto-kernel-cmdline = true }`: "off",
		`{ type = "qemu", disk-type = "block" }`: "on",
	} {
		t.Run(hypervisor, func(t *testing.T) {
			r := newRaw(t, hypervisor, pci)
			first := r.start("1")
			if got := r.ask(first, "/hello"); got != "hello" {
				t.Errorf("got %q", got)
			}
			for range 2 { // what it has written it finds again, and nobody else
				_ = r.ask(first, "/write")
			}
			second := r.start("2")
			if got := r.ask(second, "/write"); got != "false" {
				t.Errorf("the second instance's disk: got %q, want one that nobody has written to", got)
			}
			if got := r.ask(first, "/write"); got != "true" {
				t.Errorf("the first instance's disk: got %q, want what it has written", got)
			}
			_ = r.ask(first, "/panic")
			select {
			case <-first.Done():
			case <-time.After(time.Minute):
				t.Fatal("the machine lives on after its kernel's panic")
			}
			if exit := first.Wait(); exit.OutOfMemory || !strings.Contains(exit.String(), "ended its machine") {
				t.Errorf("exit: got %v", exit)
			}
			if got := r.ask(second, "/hello"); got != "hello" {
				t.Errorf("the other instance: got %q", got)
			}
		})
	}
}
