package gvisor_test

import (
	"os"
	"testing"

	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/gvisor"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) {
	gvisor.Dispatch()
	os.Exit(m.Run())
}

// lacks: a function's own clocks run while its quota makes it wait, so that
// the suite, which asks the function, can't see the limit; TestCPULimit does.
var lacks = map[sandboxtest.Promise]string{
	sandboxtest.CPULimit: "the limit holds but can't be seen from inside; TestCPULimit measures it from outside",
}

// withoutCgroups are the promises that only cgroups keep.
func withoutCgroups() map[sandboxtest.Promise]string {
	all := map[sandboxtest.Promise]string{}
	for promise, why := range lacks {
		all[promise] = why
	}
	if os.Geteuid() != 0 {
		for _, p := range []sandboxtest.Promise{sandboxtest.MemoryLimit, sandboxtest.PidsLimit} {
			all[p] = "an ordinary user has no cgroup"
		}
	}
	return all
}

func TestConformance(t *testing.T) {
	sandboxtest.Run(t, sandboxtest.Harness{
		New: func(_ testing.TB, host sandbox.Host) sandbox.Driver {
			return gvisor.New(host, gvisor.Options{})
		},
		Lacks: withoutCgroups(),
	})
}

func TestConformanceHostNetwork(t *testing.T) {
	if os.Geteuid() != 0 {
		sandboxtest.Skip(t, gvisor.Name, sandboxtest.NotRoot{What: "dial into network namespaces"})
	}
	sandboxtest.Run(t, sandboxtest.Harness{
		New: func(_ testing.TB, host sandbox.Host) sandbox.Driver {
			return gvisor.New(host, gvisor.Options{HostNetwork: true})
		},
		Lacks: withoutCgroups(),
	})
}
