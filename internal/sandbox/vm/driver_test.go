package vm_test

import (
	"context"
	"os"
	"slices"
	"testing"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest/linux"
	"github.com/unifaas/unifaas/internal/guest/linux/kernel/kerneltest"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
	"github.com/unifaas/unifaas/internal/sandbox/vm"
	"github.com/unifaas/unifaas/internal/vmm"
	"github.com/unifaas/unifaas/internal/vmm/all"
)

// monitor is a driver of which only one monitor is asked for.
type monitor struct {
	*vm.Driver
	name string
}

func (m monitor) Prepare(ctx context.Context, rev *faas.Revision) (sandbox.Artifact, error) {
	mine := *rev
	mine.Function.VM = &faas.VM{VMM: m.name}
	if config := os.Getenv("UNIFAAS_TEST_CPU_CONFIG"); config != "" && m.name == "firecracker" {
		mine.Function.VM.Hypervisor = map[string]any{"cpu-config": config}
	}
	return m.Driver.Prepare(ctx, &mine)
}

// newLinux returns drivers of Linux guests on one monitor.
func newLinux(kernels, name string) func(testing.TB, sandbox.Host) sandbox.Driver {
	return func(t testing.TB, host sandbox.Host) sandbox.Driver {
		only := slices.DeleteFunc(all.Monitors(host.StateDir), func(m vmm.Monitor) bool { return m.Name() != name })
		return monitor{vm.New(vm.NewMachines(host, only), linux.NewSystem(host.StateDir, kernels)), name}
	}
}

func conformance(t *testing.T, name string) {
	sandboxtest.Run(t, sandboxtest.Harness{
		New: newLinux(kerneltest.Dir(t, linux.Name), name),
		Die: vm.Die,
		Lacks: map[sandboxtest.Promise]string{
			sandboxtest.NoNetwork: "it has an interface, on whose other side there is nothing but a tap: TestMachineReachesNothing",
		},
	})
}

func TestConformanceMicrovm(t *testing.T) { conformance(t, "qemu-microvm") }

// TestConformanceFirecracker runs wherever KVM works and a Firecracker is
// supplied: make test-guest has such a machine.
func TestConformanceFirecracker(t *testing.T) {
	if os.Getenv("UNIFAAS_FIRECRACKER") == "" {
		sandboxtest.Skip(t, "linux-firecracker", sandboxtest.Missing{What: "Firecracker", Remedy: "name it by UNIFAAS_FIRECRACKER"})
	}
	conformance(t, "firecracker")
}

func TestConformanceQ35(t *testing.T) { conformance(t, "qemu") }
