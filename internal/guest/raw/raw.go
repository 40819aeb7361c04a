// Package raw is the guest system of the paper artefact's form: a kernel, a
// disk and a command line that somebody else has made, with no agent of ours in
// them. Nothing is made here; what the artefact gave its machines is kept, and
// what it did not check is refused with a reason.
package raw

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/made"
	nanos "github.com/unifaas/unifaas/internal/guest/nanos/kernel"
	"github.com/unifaas/unifaas/internal/vmm"
)

// Name is the sandbox of functions of the artefact's form with [vm].
const Name = "vm"

// minMemory is the least that any guest of the paper needs, bytes.
const minMemory = 16 << 20

// A System boots what it is given.
type System struct {
	kernels string // folder of kernels that had to be changed
}

var _ guest.System = System{}

// New returns the system, which keeps kernels that it has to change below
// stateDir.
func New(stateDir string) System {
	return System{filepath.Join(stateDir, "machines", Name+"-kernels")}
}

// Name returns "vm".
func (System) Name() string { return Name }

// Probe has nothing to ask for: functions bring their kernels.
func (System) Probe(context.Context) guest.Capabilities {
	return guest.Capabilities{Works: true, Detail: "with the kernels and disks that functions name"}
}

// Prune removes copies of kernels that nobody needs.
func (s System) Prune(_ []faas.Image, grace time.Duration) error {
	return made.PruneShared(s.kernels, grace)
}

// Prepare checks what a function names.
func (s System) Prepare(_ context.Context, rev *faas.Revision, on guest.Machine) (*guest.Image, error) {
	vm := rev.Function.VM
	if vm == nil || vm.Kernel == "" {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: it names no kernel", rev.Function.Ref)
	}
	boot, err := bootOf(vm.Kernel, on.Boots)
	if err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: kernel %q: %w", rev.Function.Ref, vm.Kernel, err)
	}
	path, err := s.kernel(vm.Kernel, on)
	if err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: kernel %q: %w", rev.Function.Ref, vm.Kernel, err)
	}
	image := &guest.Image{
		Boot: boot, Kernel: path, Memory: minMemory, Options: options(vm.Hypervisor, on),
		NoEntropy: true, // the artefact's machines have no such device, and OSv fails over it
		Cmdline:   func(i guest.Instance) string { return cmdline(vm.Cmdline, on, i) },
	}
	if path != vm.Kernel {
		image.Made = []string{path}
	}
	if vm.Image == "" {
		return image, nil
	}
	info, err := os.Stat(vm.Image)
	switch {
	case err != nil:
		return nil, faas.Errorf(faas.KindInvalid, "function %q: image: %w", rev.Function.Ref, err)
	case info.IsDir():
		return nil, faas.Errorf(faas.KindInvalid, `function %q: image %q is a folder; disk-type = "9p" is not served, make it a disk`, rev.Function.Ref, vm.Image)
	}
	// The artefact has all instances write to the same disk unless it is told
	// to copy it; here each has its own, always.
	image.Disks = []guest.Disk{{Path: vm.Image, Private: true}}
	return image, nil
}

// largestKernel bounds what is read to see whose kernel it is, bytes.
const largestKernel = 64 << 20

// kernel returns the path of a kernel as a monitor can boot it. The Firecracker of
// the paper booted Nanos by Linux's protocol; those of today would take the other
// one that its kernel names, which faults.
func (s System) kernel(path string, on guest.Machine) (string, error) {
	if on.Monitor != "firecracker" {
		return path, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || info.Size() > largestKernel {
		return path, err
	}
	content, err := io.ReadAll(f)
	if err != nil {
		return "", err
	}
	if isNanos := nanos.Check(content) == nil; !isNanos {
		return path, nil
	}
	return nanos.Patched(s.kernels, f)
}

// headSize is as much of a kernel as tells what it is.
const headSize = 0x206

// bootOf returns how a monitor is to begin the kernel in a file.
func bootOf(path string, boots []vmm.Boot) (vmm.Boot, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, headSize)
	if _, err := io.ReadFull(f, head); err != nil {
		return "", errors.New("it is too short for a kernel")
	}
	want := []vmm.Boot{vmm.BootLinux}
	switch {
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		want = []vmm.Boot{vmm.BootPVH, vmm.BootLinux}
	case !bytes.Equal(head[0x202:0x206], []byte("HdrS")): // Linux, Documentation/arch/x86/boot.rst
		return "", errors.New("it is neither an ELF file nor a bzImage")
	}
	for _, boot := range want {
		if slices.Contains(boots, boot) {
			return boot, nil
		}
	}
	return "", fmt.Errorf("the monitor can't boot it: it can do %v", boots)
}

// switches are the options of QEMU's microvm, which the artefact leaves to QEMU
// where they are not set.
var switches = []string{"acpi", "pic", "pit", "rtc", "auto-kernel-cmdline"}

// options are the hypervisor's, without what was said of it elsewhere: its
// type, and whether the disk is to be copied. The artefact passes over those
// that are for another hypervisor.
func options(written map[string]any, on guest.Machine) map[string]any {
	all := map[string]any{}
	if disk, ok := written["disk-type"]; ok && disk != "block" {
		all["disk-type"] = disk // the monitor refuses it
	}
	// Ours, what a guest sees of the processor, each for its monitor.
	for name, monitors := range map[string][]string{"cpu-config": {"firecracker"}, "cpu-model": {"qemu", "qemu-microvm"}} {
		if value, ok := written[name]; ok && slices.Contains(monitors, on.Monitor) {
			all[name] = value
		}
	}
	if on.Monitor != "qemu-microvm" {
		return all
	}
	for _, name := range switches {
		set, _ := written[name].(bool)
		all[name] = set
	}
	return all
}

// cmdline fills in the placeholders of the artefact's form.
func cmdline(text string, on guest.Machine, i guest.Instance) string {
	mask := guest.Netmask(i.Gateway)
	text = strings.NewReplacer("%ip", i.Guest.String(), "%gateway", i.Gateway.Addr().String(), "%netmask", mask, "%callback", i.Callback).Replace(text)
	if on.Cmdline != "" && strings.Contains(text, "console=") { // only Linux is told of it
		text += " " + on.Cmdline
	}
	// The artefact calls the disk Firecracker's root device, which adds this.
	if on.Monitor == "firecracker" && !strings.Contains(text, "root=") {
		text += " root=/dev/vda rw"
	}
	return strings.TrimSpace(text)
}
