package docker_test

import (
	"context"
	"os"
	"sync"
	"testing"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/docker"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/dockertest"
)

func TestMain(m *testing.M) { os.Exit(dockertest.Main(m)) }

// lacks: the Engine keeps containers over a boot, by their names, so that the
// record of another boot still means the same one.
var lacks = map[sandboxtest.Promise]string{
	sandboxtest.EndsWithBoot: "the Engine keeps an instance's container, and its name, until it is removed",
}

func TestConformance(t *testing.T) {
	made := newDriver(dockertest.Get(t, dockertest.Options{}))
	sandboxtest.Run(t, sandboxtest.Harness{
		New:   func(t testing.TB, host sandbox.Host) sandbox.Driver { return made(t, host) },
		Lacks: lacks,
	})
}

// newDriver makes the suite's drivers. When the test of the first on a host
// ends, its containers must be gone, which the suite can't see.
func newDriver(daemon *dockertest.Daemon) func(testing.TB, sandbox.Host) *docker.Driver {
	var seen sync.Map
	return func(t testing.TB, host sandbox.Host) *docker.Driver {
		if _, again := seen.LoadOrStore(host.Node, true); !again {
			t.Cleanup(func() {
				left, err := daemon.Docker(context.Background(), "ps", "--all", "--quiet", "--filter", "label=unifaas.node="+host.Node)
				if err != nil || left != "" {
					t.Errorf("containers left behind: %s, %v", left, err)
				}
			})
		}
		return docker.New(host, docker.Options{Host: daemon.Host()})
	}
}

func TestConformanceRunsc(t *testing.T) {
	daemon := dockertest.Get(t, dockertest.Options{})
	runsc, made := daemon.Runsc(t), newDriver(daemon)
	sandboxtest.Run(t, sandboxtest.Harness{
		New: func(t testing.TB, host sandbox.Host) sandbox.Driver {
			return withRuntime{made(t, host), runsc}
		},
		Lacks: map[sandboxtest.Promise]string{
			sandboxtest.EndsWithBoot: lacks[sandboxtest.EndsWithBoot],
			sandboxtest.NoNetwork:    "it has a bridge's interface, which leads nowhere: TestBridgeLeadsNowhere",
		},
	})
}

// withRuntime has every function run by one runtime.
type withRuntime struct {
	*docker.Driver
	runtime string
}

func (w withRuntime) Prepare(ctx context.Context, rev *faas.Revision) (sandbox.Artifact, error) {
	with := *rev
	with.Function.Runtime = w.runtime
	return w.Driver.Prepare(ctx, &with)
}
