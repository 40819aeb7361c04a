package osv

import (
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/vmm"
)

var (
	q35         = guest.Machine{Monitor: "qemu", Accelerator: vmm.TCG, Boots: []vmm.Boot{vmm.BootLinux, vmm.BootPVH, vmm.BootDisk}, PCI: true, PowersOff: true}
	firecracker = guest.Machine{Monitor: "firecracker", Accelerator: vmm.KVM, Boots: []vmm.Boot{vmm.BootLinux, vmm.BootPVH}, ELFOnly: true}
	microvm     = guest.Machine{Monitor: "qemu-microvm", Accelerator: vmm.TCG, Boots: []vmm.Boot{vmm.BootLinux, vmm.BootPVH}}
)

func TestCombinations(t *testing.T) {
	old := firecracker
	old.Boots = []vmm.Boot{vmm.BootLinux}
	fast := microvm
	fast.Accelerator = vmm.KVM
	for _, c := range []struct {
		name  string
		on    guest.Machine
		boot  vmm.Boot
		fault string
	}{
		{"QEMU", q35, vmm.BootPVH, ""},
		{"Firecracker", firecracker, vmm.BootPVH, ""},
		{"a Firecracker before PVH", old, vmm.BootLinux, ""},
		{"a microvm with KVM", fast, vmm.BootPVH, ""},
		{"a microvm without", microvm, "", `finds no clock on a microvm without KVM, and halts; it can on vmm = "qemu" with kvm, vmm = "qemu" with tcg`},
		{"another", guest.Machine{Monitor: "other"}, "", "nobody has seen OSv there"},
	} {
		boot, err := (&System{}).choose(c.on)
		if boot != c.boot || (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: got %q, %v; want %q, %q", c.name, boot, err, c.boot, c.fault)
		}
	}
}
