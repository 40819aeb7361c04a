package raw_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/nanos/nanostest"
	"github.com/unifaas/unifaas/internal/guest/raw"
	"github.com/unifaas/unifaas/internal/image/elftest"
	"github.com/unifaas/unifaas/internal/vmm"
)

// TestKernelOfNanos boots the paper's unikernels on a Firecracker of today: a
// changed copy of the kernel, and on other monitors the kernel itself.
func TestKernelOfNanos(t *testing.T) {
	nanos := filepath.Join(nanostest.Release(t), "kernel.img")
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, append(elftest.File{}.Bytes(t), make([]byte, 1024)...), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kernel, monitor string
		changed         bool
	}{{nanos, "firecracker", true}, {nanos, "qemu", false}, {other, "firecracker", false}} {
		rev := &faas.Revision{Function: faas.Function{Ref: faas.NewRef("f"), VM: &faas.VM{Kernel: c.kernel}}}
		image, err := raw.New(t.TempDir()).Prepare(t.Context(), rev, guest.Machine{Monitor: c.monitor, Boots: []vmm.Boot{vmm.BootLinux, vmm.BootPVH}})
		if err != nil {
			t.Fatal(err)
		}
		if changed := image.Kernel != c.kernel; changed != c.changed {
			t.Errorf("%s on %s: kernel %s", c.kernel, c.monitor, image.Kernel)
		}
	}
}
