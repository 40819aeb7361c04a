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

// conforms runs the suite over drivers that share a world.
func conforms(t *testing.T, driver func(sandboxtest.FakeOptions) sandbox.Driver, transport sandboxtest.Transport) {
	t.Helper()
	world := &sandboxtest.World{}
	sandboxtest.Run(t, sandboxtest.Harness{
		New: func(testing.TB, sandbox.Host) sandbox.Driver {
			return driver(sandboxtest.FakeOptions{World: world, Transport: transport})
		},
		Guest: builtGuest(t),
		Lacks: inProcess(),
	})
	if held := world.Held(); len(held) > 0 {
		t.Errorf("left behind: %q", held)
	}
}

func TestFakeConforms(t *testing.T) {
	conforms(t, func(o sandboxtest.FakeOptions) sandbox.Driver { return sandboxtest.NewFake(o) }, sandboxtest.Unix)
}

func TestFaultyWithoutFaultsConforms(t *testing.T) {
	conforms(t, func(o sandboxtest.FakeOptions) sandbox.Driver {
		return sandboxtest.Faulty(sandboxtest.NewFake(o), nil)
	}, sandboxtest.TCP)
}
