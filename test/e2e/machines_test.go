package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/guest/linux"
	"github.com/unifaas/unifaas/internal/guest/linux/kernel/kerneltest"
)

// newMachinePlatform is a platform with a kernel for Linux guests. Its tests
// have Machines in their names: see scripts/test.
func newMachinePlatform(t *testing.T) *platform {
	t.Helper()
	needsRoot(t, "make networks of machines")
	kernels := kerneltest.Dir(t, linux.Name)
	p := newPlatform(t)
	p.env = append(p.env, "UNIFAAS_MACHINES_KERNELS="+kernels)
	return p
}

// monitors are those that work on every machine.
var monitors = []string{"qemu-microvm", "qemu"}

// TestMachinesServe runs the same function on each monitor.
func TestMachinesServe(t *testing.T) {
	p := newMachinePlatform(t)
	for _, m := range monitors {
		p.deploy(t, "on-"+m, fmt.Sprintf("sandbox = %q\nvm.vmm = %q", linux.Name, m))
	}
	p.start(t)
	for _, m := range monitors {
		p.want(t, "on-"+m, "/hello")
	}
	// A firecracker that is not there is said to be.
	p.deploy(t, "on-none", "sandbox = \"linux\"\nvm.vmm = \"firecracker\"\nmemory = 16")
	eventually(t, "a refusal", func() bool {
		req, err := http.NewRequest(http.MethodGet, p.at("on-none", "/hello"), nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := send(req)
		return err == nil && (a.status == http.StatusServiceUnavailable || a.status == http.StatusBadRequest || a.status == http.StatusBadGateway)
	})
	p.stop(t)
}

// TestMachinesChurn is a hundred machines, half of them of each monitor, of
// which a third end by violence at a random moment: of the function, of the
// monitor, of the platform.
func TestMachinesChurn(t *testing.T) {
	p := newMachinePlatform(t)
	lines := func(i int) string {
		return fmt.Sprintf("sandbox = %q\nvm.vmm = %q", linux.Name, monitors[i%len(monitors)])
	}
	churnIn(t, p, lines, 100, 3*time.Second, func(pid int) bool { return isOf(pid, p.status.Node) })
}
