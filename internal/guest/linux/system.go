package linux

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/linux/kernel"
	"github.com/unifaas/unifaas/internal/guest/linux/plan"
	"github.com/unifaas/unifaas/internal/guest/made"
	"github.com/unifaas/unifaas/internal/vmm"
)

// Name is the value of a function's sandbox key.
const Name = "linux"

// least is the memory that Debian's kernel and a small function need, bytes.
const least = 64 << 20

// A System makes what Linux guests boot, with the kernels of a store.
type System struct {
	images  string // folder
	kernels *kernel.Store
}

var _ guest.System = (*System)(nil)

// NewSystem returns the system that keeps its images below stateDir and takes
// kernels from the folder kernels; "" is [Kernels] of stateDir. It reads and
// changes nothing.
func NewSystem(stateDir, kernels string) *System {
	if kernels == "" {
		kernels = Kernels(stateDir)
	}
	return &System{images: filepath.Join(stateDir, "machines", Name+"-images"), kernels: kernel.NewStore(kernels)}
}

// Kernels returns the folder of kernels below a platform's state.
func Kernels(stateDir string) string { return filepath.Join(stateDir, "kernels") }

// Name returns "linux".
func (s *System) Name() string { return Name }

// Probe looks for a kernel.
func (s *System) Probe(context.Context) guest.Capabilities {
	k, err := s.kernels.Default()
	switch {
	case errors.Is(err, kernel.ErrNone):
		return guest.Capabilities{Reason: "there is no kernel for Linux guests", Remedy: "unifaas kernel install downloads Debian's; unifaas kernel build makes one that boots faster"}
	case err != nil:
		return guest.Capabilities{Reason: err.Error()}
	}
	return guest.Capabilities{Works: true, Detail: "kernel " + k.Version + " (" + string(k.Kind) + ")"}
}

// Prepare makes the image of a revision, for the default kernel.
func (s *System) Prepare(ctx context.Context, rev *faas.Revision, on guest.Machine) (*guest.Image, error) {
	k, err := s.kernels.Default()
	if err != nil {
		return nil, faas.Errorf(faas.KindUnavailable, "prepare function %q: %w", rev.Function.Ref, err)
	}
	drivers := []kernel.Driver{kernel.DriverMMIO, kernel.DriverNet}
	if on.PCI {
		drivers[0] = kernel.DriverPCI
	}
	if on.Vsock {
		drivers[1] = kernel.DriverVsock
	}
	options := ImageOptions{Dir: s.images, Kernel: k, Drivers: drivers}
	if vm := rev.Function.VM; vm != nil {
		options.Root = Root(vm.Root)
	}
	img, err := MakeImage(ctx, rev, options)
	if err != nil {
		return nil, err
	}
	image := &guest.Image{Initrd: img.Initrd, Memory: least, Agent: true, Made: []string{img.Initrd}}
	if vm := rev.Function.VM; vm != nil {
		image.Options = vm.Hypervisor
	}
	if image.Boot, image.Kernel = bootOf(k, on); image.Kernel == "" {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: the monitor %s can't boot kernel %s; add one that it can with unifaas kernel", rev.Function.Ref, on.Monitor, k.Version)
	}
	if img.Disk != "" {
		image.Disks, image.Made = []guest.Disk{{Path: img.Disk}}, append(image.Made, img.Disk)
	}
	image.Cmdline = func(i guest.Instance) string { return Cmdline(machineOf(i, on)) }
	return image, nil
}

// bootOf chooses the way to boot a kernel. An ELF kernel has nothing to unpack
// and comes first.
func bootOf(k *kernel.Kernel, on guest.Machine) (vmm.Boot, string) {
	byLinux := slices.Contains(on.Boots, vmm.BootLinux)
	switch {
	case k.PVH && slices.Contains(on.Boots, vmm.BootPVH):
		return vmm.BootPVH, k.ELF()
	case byLinux && k.BzImage() != "" && !on.ELFOnly:
		return vmm.BootLinux, k.BzImage()
	case byLinux:
		return vmm.BootLinux, k.ELF()
	default:
		return "", ""
	}
}

// machineOf puts together what the kernel is told.
func machineOf(i guest.Instance, on guest.Machine) Machine {
	off := plan.OffReset
	if on.PowersOff {
		off = plan.OffPower
	}
	m := Machine{
		Instance: plan.Instance{ID: i.ID, Control: int(i.Control), Vsock: on.Vsock, Off: off},
		// On Firecracker each byte that is printed costs the guest an exit, and
		// it has a serial port whether there is one to be looked for or not.
		Console: on.Monitor != "firecracker",
		NoPCI:   !on.PCI,
		Extra:   strings.Fields(on.Cmdline),
	}
	if !on.Vsock {
		m.Instance.Address, m.Instance.Prefix, m.Instance.Gateway = i.Guest.As4(), i.Gateway.Bits(), i.Gateway.Addr().As4()
		copy(m.Instance.GatewayMAC[:], i.GatewayMAC)
	}
	return m
}

// Prune removes images of root file systems that are not of keep.
func (s *System) Prune(keep []faas.Image, grace time.Duration) error {
	return made.Prune(s.images, keep, grace)
}
