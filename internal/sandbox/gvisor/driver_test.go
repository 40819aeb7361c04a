package gvisor_test

import (
	"os"
	"testing"

	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/gvisor"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) {
	gvisor.Dispatch()
	os.Exit(m.Run())
}

// withoutCgroups are the promises that only cgroups keep.
func withoutCgroups() map[sandboxtest.Promise]string {
	lacks := map[sandboxtest.Promise]string{}
	if limited, _ := cgroup.NewParent("unifaas-test").Use(); limited {
		return lacks
	}
	for _, p := range []sandboxtest.Promise{sandboxtest.MemoryLimit, sandboxtest.PidsLimit, sandboxtest.CPULimit} {
		lacks[p] = "this user has no cgroup"
	}
	return lacks
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
