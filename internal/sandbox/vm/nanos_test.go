package vm_test

import (
	"testing"

	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/nanos"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
	"github.com/unifaas/unifaas/internal/sandbox/vm"
)

// unikernelLacks is what a kernel that is one program with it lacks by nature.
func unikernelLacks() map[sandboxtest.Promise]string {
	return map[sandboxtest.Promise]string{
		sandboxtest.NoNetwork:    "it has an interface, on whose other side there is nothing but a tap: TestMachineReachesNothing",
		sandboxtest.Users:        "it has one program and no users: the machine is the boundary",
		sandboxtest.NoPrivileges: "it has no capabilities that could be taken away: the machine is the boundary",
		sandboxtest.Proc:         "it has no processes, and no table of them",
		sandboxtest.PidsLimit:    "it can't start a process at all",
		sandboxtest.BulkOutput:   "its output goes over a serial port, byte by byte, and it does nothing else meanwhile",
		sandboxtest.OutOfMemory:  "its program is told of the end of memory as of any other fault, and nobody else is",
	}
}

func nanosConformance(t *testing.T, name string) {
	dir := supplied(t, nanos.Name, "UNIFAAS_NANOS_DIR", "a release of Nanos, kernel.img and boot.img in a folder,")
	sandboxtest.Run(t, sandboxtest.Harness{
		New: on(name, func(stateDir string) guest.System {
			return nanos.NewSystem(stateDir, finder(nanos.Assets(), dir, stateDir))
		}),
		Die: vm.Die, Lacks: unikernelLacks(),
	})
}

func TestConformanceNanosQ35(t *testing.T) { nanosConformance(t, "qemu") }

// TestConformanceNanosFirecracker runs wherever KVM works and both are supplied:
// make test-guest has such a machine.
func TestConformanceNanosFirecracker(t *testing.T) {
	supplied(t, "nanos-firecracker", "UNIFAAS_FIRECRACKER", "Firecracker")
	nanosConformance(t, "firecracker")
}
