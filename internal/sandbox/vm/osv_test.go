package vm_test

import (
	"testing"

	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/osv"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
	"github.com/unifaas/unifaas/internal/sandbox/vm"
)

// osvLacks is what OSv lacks beside what any unikernel does.
func osvLacks() map[sandboxtest.Promise]string {
	lacks := unikernelLacks()
	lacks[sandboxtest.ExitStatus] = "it turns the machine off whatever the program's exit status is, and tells nobody"
	lacks[sandboxtest.BoundedDisk] = "its /tmp is in the guest's memory, which bounds it"
	lacks[sandboxtest.MemoryLimit] = "over its memory it waits for some to become free, and answers no more: a health check finds out"
	return lacks
}

func osvConformance(t *testing.T, name string) {
	loader := supplied(t, osv.Name, "UNIFAAS_OSV_LOADER", "OSv's kernel, a loader-stripped.elf,")
	sandboxtest.Run(t, sandboxtest.Harness{
		New: on(name, func(stateDir string) guest.System {
			return osv.NewSystem(stateDir, finder(osv.Assets(), loader, stateDir))
		}),
		Die: vm.Die, Lacks: osvLacks(),
	})
}

func TestConformanceOSvQ35(t *testing.T) { osvConformance(t, "qemu") }

// TestConformanceOSvFirecracker is like TestConformanceNanosFirecracker.
func TestConformanceOSvFirecracker(t *testing.T) {
	supplied(t, "osv-firecracker", "UNIFAAS_FIRECRACKER", "Firecracker")
	osvConformance(t, "firecracker")
}
