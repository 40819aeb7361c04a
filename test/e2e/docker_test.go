package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/dockertest"
)

// newDockerPlatform makes a platform that uses the tests' own Docker Engine,
// on which it is to leave no container.
func newDockerPlatform(t *testing.T) (*platform, *dockertest.Daemon) {
	t.Helper()
	daemon := dockertest.Get(t, dockertest.Options{})
	t.Cleanup(func() { // after the platform's own
		if left, err := daemon.Docker(context.Background(), "ps", "--all", "--quiet"); err != nil || left != "" {
			t.Errorf("containers left behind: %q, %v", left, err)
		}
	})
	p := newPlatform(t)
	p.env = append(p.env, "UNIFAAS_DOCKER_HOST="+daemon.Host())
	return p, daemon
}

const (
	// crowd is how many instances the paper's experiments have at once.
	crowd = 100
	// crowdPatience bounds the answers to all of them, which wait for a
	// hundred cold starts.
	crowdPatience = 5 * time.Minute
)

// TestArtefactRegistry serves a folder as the paper's artefact has it: its
// containers in two runtimes, a hundred at once, each of which serves one
// request and then stays idle.
func TestArtefactRegistry(t *testing.T) {
	p, daemon := newDockerPlatform(t)
	p.artefactImage(t, daemon, "faas-go")
	functions := map[string]string{"go-runc": "runc", "go-runsc": daemon.Runsc(t)}
	for name, runtime := range functions {
		p.write(t, name, fmt.Sprintf(`keepalive = 100
concurrent-requests = 1
single-use = true

[container]
image = "faas-go"
memory = 64
runtime = %q
`, runtime))
	}
	p.start(t)
	for name := range functions {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			p.crowd(t, name)
			t.Logf("%d cold starts at once answered in %v", crowd, time.Since(start).Round(time.Millisecond))
			idle := 0
			for _, i := range p.instances(t, name) {
				if i.Served == 1 && i.InFlight == 0 {
					idle++
				}
			}
			running, err := daemon.Docker(t.Context(), "ps", "--quiet", "--filter", "status=running")
			if err != nil {
				t.Fatal(err)
			}
			if n := len(strings.Fields(running)); idle != crowd || n < crowd {
				t.Errorf("%d instances have served one request and are idle, %d containers run; want %d of each", idle, n, crowd)
			}
			p.remove(t, name)
			p.awaitInstances(t, name, 0)
		})
	}
	p.stop(t)
}

// artefactImage imports the artefact's kind of function as the image name.
func (p *platform) artefactImage(t *testing.T, daemon *dockertest.Daemon, name string) {
	t.Helper()
	program, layer := binariesOf(t).artefact, filepath.Join(t.TempDir(), "layer.tar")
	dir, file := filepath.Split(program)
	if out, err := exec.Command("tar", "-C", dir, "-cf", layer, file).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	if _, err := daemon.Docker(t.Context(), "import", "--change", `ENTRYPOINT ["/`+file+`"]`, "--change", "ENV VERSION=one", layer, name); err != nil {
		t.Fatal(err)
	}
}

// crowd sends a function as many requests at once and wants them answered.
func (p *platform) crowd(t *testing.T, function string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), crowdPatience)
	defer cancel()
	var all sync.WaitGroup
	for range crowd {
		all.Go(func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.at(function, "/hello"), nil)
			if err != nil {
				t.Error(err)
				return
			}
			if a, err := send(req); err != nil || a.status != http.StatusOK || a.body != "one" {
				t.Errorf("got %d %q, %v", a.status, a.body, err)
			}
		})
	}
	all.Wait()
}
