package osv

import (
	"fmt"
	"slices"
	"strings"

	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/vmm"
)

// A Combination is a machine on which OSv runs, or does not.
type Combination struct {
	Monitor     string
	Accelerator vmm.Accelerator
	Boot        vmm.Boot
	// Fault says why it can't work; "" when it can.
	Fault string
	// Tested says that functions were seen to answer there, or that the fault
	// was.
	Tested bool
}

// Combinations returns the table of all machines.
func Combinations() []Combination {
	const clockless = "OSv finds no clock on a microvm without KVM, and halts"
	return []Combination{
		{Monitor: "qemu", Accelerator: vmm.KVM, Boot: vmm.BootPVH},
		{Monitor: "qemu", Accelerator: vmm.TCG, Boot: vmm.BootPVH, Tested: true},
		{Monitor: "firecracker", Accelerator: vmm.KVM, Boot: vmm.BootPVH},
		{Monitor: "firecracker", Accelerator: vmm.KVM, Boot: vmm.BootLinux},
		{Monitor: "qemu-microvm", Accelerator: vmm.KVM, Boot: vmm.BootPVH},
		{Monitor: "qemu-microvm", Accelerator: vmm.TCG, Boot: vmm.BootPVH, Fault: clockless, Tested: true},
	}
}

// Supports returns how OSv is booted on a kind of machine, or why it can't be
// and on which others it can.
func Supports(on guest.Machine) (vmm.Boot, error) {
	var able []string
	fault := ""
	for _, c := range Combinations() {
		here := c.Monitor == on.Monitor && c.Accelerator == on.Accelerator
		switch {
		case c.Fault == "" && here && slices.Contains(on.Boots, c.Boot):
			return c.Boot, nil
		case c.Fault == "":
			if name := fmt.Sprintf("vmm = %q with %s", c.Monitor, c.Accelerator); !here && !slices.Contains(able, name) {
				able = append(able, name)
			}
		case here:
			fault = c.Fault
		}
	}
	if fault == "" {
		fault = "nobody has seen OSv there"
	}
	return "", fmt.Errorf("OSv can't run on the monitor %s with %s: %s; it can on %s", on.Monitor, on.Accelerator, fault, strings.Join(able, ", "))
}
