package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/dockertest"
)

// newDockerPlatform makes a platform that uses the tests' own Docker Engine,
// on which it is to leave no container and no network. It may leave images for
// the functions that it had, which wantNoImages is about.
func newDockerPlatform(t *testing.T) (*platform, *dockertest.Daemon) {
	t.Helper()
	daemon := dockertest.Get(t, dockertest.Options{})
	node := ""
	t.Cleanup(func() { // after the platform's own
		if node == "" {
			return // it was never started
		}
		named, err := daemon.Named(context.Background(), node)
		if err != nil {
			t.Error(err)
		}
		for _, thing := range named {
			if !strings.HasPrefix(thing, "image ") {
				t.Errorf("left in Docker: %s", thing)
			}
		}
	})
	p := newPlatform(t)
	t.Cleanup(func() { // before its state is removed
		var err error
		if node, err = p.node(); err != nil {
			t.Error(err)
		}
	})
	p.env = append(p.env, "UNIFAAS_DOCKER_HOST="+daemon.Host())
	return p, daemon
}

// wantNoImages takes the functions away and prunes: nothing that is named
// after the platform is left in Docker then.
func (p *platform) wantNoImages(t *testing.T, daemon *dockertest.Daemon, functions ...string) {
	t.Helper()
	for _, f := range functions {
		p.remove(t, f)
		eventually(t, f+" to be gone", func() bool { _, known := p.list(t)[f]; return !known })
	}
	p.awaitInstances(t, "", 0)
	if _, errs, code := p.cli(t, "image", "prune", "--all"); code != 0 {
		t.Errorf("prune ended with %d: %s", code, errs)
	}
	named, err := daemon.Named(t.Context(), p.status.Node)
	if err != nil {
		t.Fatal(err)
	}
	for _, thing := range named {
		if strings.HasPrefix(thing, "image ") {
			t.Errorf("left in Docker: %s", thing)
		}
	}
}

const (
	// crowd is how many instances the paper's experiments have at once.
	crowd = 100
	// crowdPatience bounds the answers to all of them, which wait for a
	// hundred cold starts.
	crowdPatience = 5 * time.Minute
)

// TestArtefactRegistry serves a folder as the paper's artefact has it: its
// containers in two runtimes, with its own values, a hundred at once, each of
// which serves one request and then stays idle until its keepalive ends.
func TestArtefactRegistry(t *testing.T) {
	p, daemon := newDockerPlatform(t)
	p.artefactImage(t, daemon, "faas-go")
	functions := map[string]string{"go-runc": "runc", "go-runsc": daemon.Runsc(t)}
	for name, runtime := range functions {
		p.write(t, name, artefactToml("faas-go", runtime, 100))
	}
	p.start(t)
	for name := range functions {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			p.crowd(t, name)
			t.Logf("%d cold starts at once answered in %v", crowd, time.Since(start).Round(time.Millisecond))
			p.wantIdle(t, daemon, name)
			// Still, when what a start may have left undone would have ended them.
			time.Sleep(3 * time.Second)
			p.wantIdle(t, daemon, name)
			p.remove(t, name)
			p.awaitInstances(t, name, 0)
		})
	}
	p.stop(t)
}

// artefactToml is a function.toml with the values of the artefact's registry,
// keepalive in seconds.
func artefactToml(image, runtime string, keepalive int) string {
	return fmt.Sprintf(`keepalive = %d
concurrent-requests = 1
single-use = true

[container]
image = %q
memory = 512
runtime = %q
`, keepalive, image, runtime)
}

// wantIdle wants a crowd of a function's instances that have served one
// request and are alive, each in a container of the artefact's memory.
func (p *platform) wantIdle(t *testing.T, daemon *dockertest.Daemon, function string) {
	t.Helper()
	idle := map[string]bool{}
	for _, i := range p.instances(t, function) {
		if i.Served == 1 && i.InFlight == 0 {
			idle[i.ID] = true
		}
	}
	ids := slices.Sorted(maps.Keys(idle))
	out, err := daemon.Docker(t.Context(), append([]string{"inspect", "--format", "{{.State.Status}} {{.HostConfig.Memory}} {{.State.Pid}}"}, ids...)...)
	if err != nil {
		t.Fatal(err)
	}
	alive := 0
	for line := range strings.Lines(out) {
		var status string
		var memory int64
		var pid int
		if _, err := fmt.Sscan(line, &status, &memory, &pid); err == nil && status == "running" && memory == 512<<20 && daemon.Contains(pid) {
			alive++
		}
	}
	if len(idle) != crowd || alive != crowd {
		t.Errorf("%d instances have served one request and are idle, %d of them are alive in a container of 512 MiB; want %d of each", len(idle), alive, crowd)
	}
}

// TestArtefactKeepalive has idle instances, which serve nobody any more, go
// when their time is over, and not before.
func TestArtefactKeepalive(t *testing.T) {
	p, daemon := newDockerPlatform(t)
	p.artefactImage(t, daemon, "faas-brief")
	const keepalive = 4 * time.Second
	functions := map[string]string{"brief-runc": "runc", "brief-runsc": daemon.Runsc(t)}
	for name, runtime := range functions {
		p.write(t, name, artefactToml("faas-brief", runtime, int(keepalive/time.Second)))
	}
	p.start(t)
	for name := range functions {
		for range 2 {
			if got := p.want(t, name, "/hello"); got != "one" {
				t.Errorf("%s answers %q", name, got)
			}
		}
		served := time.Now()
		// The second was served by another one: both are there.
		if n := len(p.instances(t, name)); n != 2 && time.Since(served) < keepalive/2 {
			t.Errorf("%s has %d instances, want 2", name, n)
		}
		p.awaitInstances(t, name, 0)
		if idle := time.Since(served); idle < keepalive-time.Second {
			t.Errorf("the last instance of %s has gone after %v, want %v", name, idle, keepalive)
		}
	}
	eventually(t, "the containers to be gone", func() bool {
		out, err := daemon.Docker(t.Context(), "ps", "--all", "--quiet", "--filter", "label=unifaas.node="+p.status.Node)
		return err == nil && out == ""
	})
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
