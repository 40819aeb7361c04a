package nanos

import (
	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/vmm"
)

// Combinations implements [guest.Chooser]. By a BIOS Nanos comes up wherever
// there is one, by Linux's protocol on Firecracker alone.
func (s *System) Combinations() []guest.Combination {
	const (
		faults = "its kernel faults at once where QEMU hands it over, and a microvm has no BIOS that could load it"
		pvh    = "its kernel can't be entered by the note of PVH that it has; it is handed over without"
	)
	return []guest.Combination{
		{Monitor: "qemu", Accelerator: vmm.KVM, Boot: vmm.BootDisk, Tested: true},
		{Monitor: "qemu", Accelerator: vmm.TCG, Boot: vmm.BootDisk, Tested: true},
		{Monitor: "firecracker", Accelerator: vmm.KVM, Boot: vmm.BootLinux, Tested: true},
		{Monitor: "firecracker", Accelerator: vmm.KVM, Boot: vmm.BootPVH, Fault: pvh, Tested: true},
		{Monitor: "qemu-microvm", Accelerator: vmm.KVM, Boot: vmm.BootLinux, Fault: faults},
		{Monitor: "qemu-microvm", Accelerator: vmm.TCG, Boot: vmm.BootLinux, Fault: faults, Tested: true},
	}
}

// choose returns how Nanos is booted on a kind of machine.
func (s *System) choose(on guest.Machine) (vmm.Boot, error) {
	c, err := guest.Choose("Nanos", s.Combinations(), on)
	return c.Boot, err
}
