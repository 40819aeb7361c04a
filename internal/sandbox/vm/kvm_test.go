package vm_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
	"github.com/unifaas/unifaas/internal/vmm"
	"github.com/unifaas/unifaas/internal/vmm/all"
)

// TestUnderKVM starts a function on each of QEMU's machines by the processor
// itself. make test-guest has a machine in which that works.
func TestUnderKVM(t *testing.T) {
	for _, name := range []string{"qemu-microvm", "qemu"} {
		t.Run(name, func(t *testing.T) {
			monitors := all.Monitors(t.TempDir())
			monitor := monitors[slices.IndexFunc(monitors, func(m vmm.Monitor) bool { return m.Name() == name })]
			caps := monitor.Probe(t.Context())
			if caps.Accelerator != vmm.KVM {
				sandboxtest.Skip(t, "kvm", sandboxtest.Missing{What: "KVM that runs guests for " + name, Remedy: caps.Reason + caps.AcceleratorNote})
			}
			r := newGuest(t, name)
			instance := r.start("1")
			if got, want := r.ask(instance, "/hello"), "hello"; !strings.Contains(got, want) {
				t.Errorf("got %q, want %q in it", got, want)
			}
			if detail := r.driver.Probe(t.Context()).Detail; !strings.Contains(detail, name+" ") || !strings.Contains(detail, "with kvm") {
				t.Errorf("the driver says %q", detail)
			}
		})
	}
}
