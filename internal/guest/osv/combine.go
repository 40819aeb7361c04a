package osv

import (
	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/vmm"
)

// Combinations implements [guest.Chooser].
func (s *System) Combinations() []guest.Combination {
	const clockless = "OSv finds no clock on a microvm without KVM, and halts"
	return []guest.Combination{
		{Monitor: "qemu", Accelerator: vmm.KVM, Boot: vmm.BootPVH, Tested: true},
		{Monitor: "qemu", Accelerator: vmm.TCG, Boot: vmm.BootPVH, Tested: true},
		{Monitor: "firecracker", Accelerator: vmm.KVM, Boot: vmm.BootPVH, Tested: true},
		{Monitor: "firecracker", Accelerator: vmm.KVM, Boot: vmm.BootLinux},
		{Monitor: "qemu-microvm", Accelerator: vmm.KVM, Boot: vmm.BootPVH},
		{Monitor: "qemu-microvm", Accelerator: vmm.TCG, Boot: vmm.BootPVH, Fault: clockless, Tested: true},
	}
}

// choose returns how OSv is booted on a kind of machine.
func (s *System) choose(on guest.Machine) (vmm.Boot, error) {
	c, err := guest.Choose("OSv", s.Combinations(), on)
	return c.Boot, err
}
