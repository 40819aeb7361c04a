package e2e

import (
	"fmt"
	"testing"

	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/dockertest"
)

// A variant is a sandbox as a function asks for it.
type variant struct {
	sandbox string
	// lines of function.toml that choose it
	lines string
	// daemon runs the variant's containers; nil but for Docker.
	daemon *dockertest.Daemon
}

// inSandboxes runs a test in each of the sandboxes that are named as in
// "docker/runsc", with a platform for each, which has not been started. A
// sandbox that does not work here is skipped. Two at a time, since each waits
// for others for most of its time.
func inSandboxes(t *testing.T, test func(*testing.T, *platform, variant), names ...string) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := variant{sandbox: name, lines: fmt.Sprintf("sandbox = %q\n", name)}
			switch name {
			case "docker":
				p, daemon := newDockerPlatform(t)
				v.daemon = daemon
				test(t, p, v)
			case "docker/runsc":
				p, daemon := newDockerPlatform(t)
				v.sandbox, v.daemon = "docker", daemon
				v.lines = fmt.Sprintf("sandbox = \"docker\"\nruntime = %q\n", daemon.Runsc(t))
				test(t, p, v)
			default:
				needsSandbox(t, name)
				test(t, newPlatform(t), v)
			}
		})
	}
}

// everySandbox lists what the platform's promises are kept in.
func everySandbox() []string {
	return []string{"gvisor", "container", "runc", "docker", "docker/runsc"}
}
