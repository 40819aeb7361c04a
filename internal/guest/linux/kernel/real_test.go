package kernel_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/unifaas/unifaas/internal/guest/linux/kernel"
)

// folder is where the tests of a checkout keep kernels: to download and to
// build them takes time.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../../../build/kernels")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestBuild builds our kernel for real, which takes a quarter of an hour.
func TestBuild(t *testing.T) {
	if os.Getenv("UNIFAAS_BUILD_KERNEL") == "" {
		t.Skip("UNIFAAS_BUILD_KERNEL is not set")
	}
	last := -1
	k, err := kernel.NewStore(folder(t)).Build(context.Background(), func(step string, percent int) {
		if percent/10 != last/10 {
			t.Logf("%s %d%%", step, percent)
		}
		last = percent
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s %s (%s), PVH %v", k.ID(), k.Version, k.Source, k.PVH)
	if _, err := k.Modules(kernel.DriverMMIO, kernel.DriverPCI, kernel.DriverNet, kernel.DriverBlock, kernel.DriverEROFS, kernel.DriverVsock, kernel.DriverRandom); err != nil {
		t.Error(err)
	}
	if !k.PVH || k.Kind != kernel.KindSmall {
		t.Errorf("got %+v", k)
	}
}
