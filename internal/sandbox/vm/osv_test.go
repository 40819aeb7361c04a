package vm_test

import (
	"os"
	"slices"
	"testing"

	"github.com/unifaas/unifaas/internal/guest/assets"
	"github.com/unifaas/unifaas/internal/guest/osv"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
	"github.com/unifaas/unifaas/internal/sandbox/vm"
	"github.com/unifaas/unifaas/internal/vmm"
	"github.com/unifaas/unifaas/internal/vmm/all"
)

// osvLoader returns OSv's kernel, which the operator supplies.
func osvLoader(t testing.TB) string {
	t.Helper()
	loader := os.Getenv("UNIFAAS_OSV_LOADER")
	if loader == "" {
		sandboxtest.Skip(t, osv.Name, sandboxtest.Missing{What: "OSv's kernel", Remedy: "name a loader-stripped.elf by UNIFAAS_OSV_LOADER"})
	}
	return loader
}

// newOSv returns drivers of OSv guests on one monitor.
func newOSv(loader, name string) func(testing.TB, sandbox.Host) sandbox.Driver {
	return func(_ testing.TB, host sandbox.Host) sandbox.Driver {
		only := slices.DeleteFunc(all.Monitors(host.StateDir), func(m vmm.Monitor) bool { return m.Name() != name })
		finder := assets.NewFinder(osv.Assets(), loader, assets.NewStore(assets.Dir(host.StateDir)))
		return monitor{vm.New(vm.NewMachines(host, only), osv.NewSystem(host.StateDir, finder)), name}
	}
}

// osvLacks is what OSv lacks beside what any unikernel does.
func osvLacks() map[sandboxtest.Promise]string {
	lacks := unikernelLacks()
	lacks[sandboxtest.ExitStatus] = "it turns the machine off whatever the program's exit status is, and tells nobody"
	lacks[sandboxtest.BoundedDisk] = "its /tmp is in the guest's memory, which bounds it"
	lacks[sandboxtest.MemoryLimit] = "over its memory it waits for some to become free, and answers no more: a health check finds out"
	return lacks
}

func TestConformanceOSv(t *testing.T) {
	sandboxtest.Run(t, sandboxtest.Harness{New: newOSv(osvLoader(t), "qemu"), Die: vm.Die, Lacks: osvLacks()})
}
