package vm_test

import (
	"context"
	"os"
	"slices"
	"testing"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/assets"
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
	name  string
	vsock bool
}

func (m monitor) Prepare(ctx context.Context, rev *faas.Revision) (sandbox.Artifact, error) {
	mine := *rev
	mine.Function.VM = &faas.VM{VMM: m.name, Vsock: m.vsock}
	if config := os.Getenv("UNIFAAS_TEST_CPU_CONFIG"); config != "" && m.name == "firecracker" {
		mine.Function.VM.Hypervisor = map[string]any{"cpu-config": config}
	}
	if model := os.Getenv("UNIFAAS_TEST_CPU_MODEL"); model != "" && m.name != "firecracker" {
		mine.Function.VM.Hypervisor = map[string]any{"cpu-model": model}
	}
	return m.Driver.Prepare(ctx, &mine)
}

// on returns drivers of a guest system on one monitor.
func on(name string, system func(stateDir string) guest.System) func(testing.TB, sandbox.Host) sandbox.Driver {
	return func(t testing.TB, host sandbox.Host) sandbox.Driver {
		only := slices.DeleteFunc(all.Monitors(host.StateDir), func(m vmm.Monitor) bool { return m.Name() != name })
		if want := os.Getenv("UNIFAAS_TEST_ACCELERATOR"); want != "" {
			if caps := only[0].Probe(t.Context()); string(caps.Accelerator) != want {
				t.Fatalf("%s has the accelerator %q, want %q: %s%s", name, caps.Accelerator, want, caps.Reason, caps.AcceleratorNote)
			}
		}
		return monitor{Driver: vm.New(vm.NewMachines(host, only), system(host.StateDir)), name: name}
	}
}

func newLinux(kernels, name string) func(testing.TB, sandbox.Host) sandbox.Driver {
	return on(name, func(stateDir string) guest.System { return linux.NewSystem(stateDir, kernels) })
}

// supplied returns where the operator's files for a sandbox are, which a variable
// names; a test without them is skipped.
func supplied(t testing.TB, sandbox, variable, what string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		sandboxtest.Skip(t, sandbox, sandboxtest.Missing{What: what, Remedy: "name it by " + variable})
	}
	return path
}

// finder finds what is supplied at path.
func finder(kind assets.Kind, path, stateDir string) *assets.Finder {
	return assets.NewFinder(kind, path, assets.NewStore(assets.Dir(stateDir)))
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

// TestConformanceVsock has guests without a network.
func TestConformanceVsock(t *testing.T) {
	supplied(t, "linux-firecracker", "UNIFAAS_FIRECRACKER", "Firecracker")
	create := newLinux(kerneltest.Dir(t, linux.Name), "firecracker")
	sandboxtest.Run(t, sandboxtest.Harness{
		New: func(t testing.TB, host sandbox.Host) sandbox.Driver {
			m := create(t, host).(monitor)
			m.vsock = true
			return m
		},
		Die:   vm.Die,
		Lacks: map[sandboxtest.Promise]string{sandboxtest.HalfClose: "Firecracker ends both halves of a connection by vsock when the host ends one"},
	})
}

// TestConformanceFirecracker runs wherever KVM works and a Firecracker is
// supplied: make test-guest has such a machine.
func TestConformanceFirecracker(t *testing.T) {
	supplied(t, "linux-firecracker", "UNIFAAS_FIRECRACKER", "Firecracker")
	conformance(t, "firecracker")
}

func TestConformanceQ35(t *testing.T) { conformance(t, "qemu") }
