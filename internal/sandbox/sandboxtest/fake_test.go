package sandboxtest_test

import (
	"testing"

	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

// inProcess is what no fake gives.
func inProcess() map[sandboxtest.Promise]string {
	const why = "its instances are goroutines of this process"
	lacks := map[sandboxtest.Promise]string{}
	for _, p := range []sandboxtest.Promise{
		sandboxtest.Program, sandboxtest.ReadOnlyRoot, sandboxtest.BoundedDisk, sandboxtest.NoNetwork,
		sandboxtest.NoPrivileges, sandboxtest.MemoryLimit, sandboxtest.PidsLimit, sandboxtest.CPULimit,
		sandboxtest.OutlivesPlatform,
	} {
		lacks[p] = why
	}
	return lacks
}

func TestFakeConforms(t *testing.T) {
	for _, transport := range []sandboxtest.Transport{sandboxtest.Unix, sandboxtest.TCP} {
		t.Run(string(transport), func(t *testing.T) {
			world := &sandboxtest.World{}
			sandboxtest.Run(t, sandboxtest.Harness{
				New: func(testing.TB, sandbox.Host) sandbox.Driver {
					return sandboxtest.NewFake(sandboxtest.FakeOptions{World: world, Transport: transport})
				},
				Lacks: inProcess(),
			})
			if held := world.Held(); len(held) > 0 {
				t.Errorf("left behind: %q", held)
			}
		})
	}
}

func TestFaultyWithoutFaultsConforms(t *testing.T) {
	world := &sandboxtest.World{}
	sandboxtest.Run(t, sandboxtest.Harness{
		New: func(testing.TB, sandbox.Host) sandbox.Driver {
			return sandboxtest.Faulty(sandboxtest.NewFake(sandboxtest.FakeOptions{World: world}), nil)
		},
		Lacks: inProcess(),
	})
}
