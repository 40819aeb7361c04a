package vm_test

import (
	"os"
	"slices"
	"testing"

	"github.com/unifaas/unifaas/internal/guest/assets"
	"github.com/unifaas/unifaas/internal/guest/nanos"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
	"github.com/unifaas/unifaas/internal/sandbox/vm"
	"github.com/unifaas/unifaas/internal/vmm"
	"github.com/unifaas/unifaas/internal/vmm/all"
)

// nanosDir is the folder of a release of Nanos; a test without one is skipped.
func nanosDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("UNIFAAS_NANOS_DIR")
	if dir == "" {
		sandboxtest.Skip(t, nanos.Name, sandboxtest.Missing{What: "a kernel of Nanos", Remedy: "name the folder of its kernel.img and boot.img by UNIFAAS_NANOS_DIR"})
	}
	return dir
}

// newNanos returns drivers of Nanos unikernels on one monitor.
func newNanos(dir, name string) func(testing.TB, sandbox.Host) sandbox.Driver {
	return func(_ testing.TB, host sandbox.Host) sandbox.Driver {
		only := slices.DeleteFunc(all.Monitors(host.StateDir), func(m vmm.Monitor) bool { return m.Name() != name })
		finder := assets.NewFinder(nanos.Assets(), dir, assets.NewStore(assets.Dir(host.StateDir)))
		return monitor{vm.New(vm.NewMachines(host, only), nanos.NewSystem(host.StateDir, finder)), name}
	}
}

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
	sandboxtest.Run(t, sandboxtest.Harness{New: newNanos(nanosDir(t), name), Die: vm.Die, Lacks: unikernelLacks()})
}

func TestConformanceNanosQ35(t *testing.T) { nanosConformance(t, "qemu") }

// TestConformanceNanosFirecracker runs wherever KVM works and both are supplied:
// make test-guest has such a machine.
func TestConformanceNanosFirecracker(t *testing.T) {
	if os.Getenv("UNIFAAS_FIRECRACKER") == "" {
		sandboxtest.Skip(t, "nanos-firecracker", sandboxtest.Missing{What: "Firecracker", Remedy: "name it by UNIFAAS_FIRECRACKER"})
	}
	nanosConformance(t, "firecracker")
}
