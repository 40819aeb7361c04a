package e2e

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/dockertest"
)

// A tally counts answers by what they were.
type tally struct {
	mu      sync.Mutex
	answers map[string]int
}

// note counts an answer, and returns an error unless it is a success or one
// that tells its client to come again.
func (c *tally) note(a answer) error {
	what := strconv.Itoa(a.status)
	retry, err := strconv.Atoi(a.header.Get("Retry-After"))
	again := err == nil && retry > 0
	if again {
		what += " with Retry-After"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answers == nil {
		c.answers = map[string]int{}
	}
	c.answers[what]++
	if a.status == http.StatusOK || again && (a.status == http.StatusServiceUnavailable || a.status == http.StatusBadGateway) {
		return nil
	}
	return fmt.Errorf("status %d, Retry-After %q: %s", a.status, a.header.Get("Retry-After"), a.body)
}

// TestEngineRestartsUnderLoad takes the Docker Engine away from a platform
// with warm and cold requests, gently and by force, and gives it back.
func TestEngineRestartsUnderLoad(t *testing.T) {
	p, daemon := newDockerPlatform(t)
	const docker = "sandbox = \"docker\"\n"
	warm := p.deploy(t, "warm", docker+"concurrency = 4\nkeepalive = \"10m\"")
	cold := p.deploy(t, "cold", docker+"single-use = true")
	p.start(t)
	p.want(t, warm, "/hello")
	p.want(t, cold, "/hello")
	pid := p.status.PID
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) { restartUnderLoad(t, p, daemon, sig, warm, cold) })
	}
	if !p.running() || p.cmd.Process.Pid != pid {
		t.Errorf("the platform has ended: %v", p.cmd.ProcessState)
	}
	p.stop(t)
	clearOrphans(t, daemon)
}

// clearOrphans ends what an Engine that was killed has forgotten, in the midst
// of starts: nobody else will.
func clearOrphans(t *testing.T, daemon *dockertest.Daemon) {
	t.Helper()
	ended := map[int]bool{}
	eventually(t, "no process to be left that the Engine does not know of", func() bool {
		orphans, err := daemon.Orphans(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, pid := range orphans {
			if !ended[pid] {
				t.Logf("the Engine has forgotten process %d: %q", pid, commandLine(pid))
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have just ended
			}
			ended[pid] = true
		}
		return len(orphans) == 0
	})
}

func restartUnderLoad(t *testing.T, p *platform, daemon *dockertest.Daemon, sig syscall.Signal, warm, cold string) {
	var came tally
	loads := map[string]*load{
		warm: startLoad(p.at(warm, "/hello"), 2, 5*time.Millisecond, came.note),
		cold: startLoad(p.at(cold, "/hello"), 2, 5*time.Millisecond, came.note),
	}
	for _, l := range loads {
		t.Cleanup(l.stop)
		l.more(t, 3)
	}
	begin := time.Now()
	if err := daemon.Stop(sig); err != nil {
		t.Fatal(err)
	}
	t.Logf("the Engine took %v to end", time.Since(begin).Round(time.Millisecond))
	// The Engine is away. What it did not take along goes on; whoever needs
	// it is told to come again.
	wantProblem(t, p.get(t, cold, "/hello"), http.StatusServiceUnavailable, "Docker Engine", "does not answer")
	for _, l := range loads {
		l.more(t, 20)
	}
	begin = time.Now()
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	t.Logf("the Engine took %v to come back", back.Sub(begin).Round(time.Millisecond))
	for _, name := range []string{warm, cold} {
		eventually(t, name+" to answer", func() bool { return p.get(t, name, "/hello").status == http.StatusOK })
		t.Logf("%s answers %v after the Engine does", name, time.Since(back).Round(time.Millisecond))
	}
	for name, l := range loads {
		l.wantNoFailure(t, name+" during a restart of the Engine")
	}
	t.Logf("answers: %v", came.answers)
	// As before.
	for _, name := range []string{warm, cold} {
		l := startLoad(p.at(name, "/hello"), 2, time.Millisecond, nil)
		l.more(t, 5)
		l.wantNoFailure(t, name+" after the restart")
	}
	wantOnlyInstances(t, p, daemon)
}

// wantOnlyInstances wants no container that is none of the platform's
// instances: an earlier Engine's are gone.
func wantOnlyInstances(t *testing.T, p *platform, daemon *dockertest.Daemon) {
	t.Helper()
	var stray []string
	eventually(t, "containers and instances to be the same", func() bool {
		known := map[string]bool{}
		for _, i := range p.instances(t, "") {
			known[i.ID] = true
		}
		out, err := daemon.Docker(t.Context(), "ps", "--all", "--filter", "label=unifaas.node="+p.status.Node, "--format", "{{.Names}}")
		if err != nil {
			t.Fatal(err)
		}
		stray = nil
		for _, container := range strings.Fields(out) {
			if !known[container] {
				stray = append(stray, container)
			}
		}
		return len(stray) == 0
	})
}

// TestPruneOfDockerUnderLoad has somebody remove all that Docker does not use
// at the moment, again and again, under a platform with all kinds of functions.
func TestPruneOfDockerUnderLoad(t *testing.T) {
	reference := newRegistry(t).push(t, "team/pruned:stable", programImage(t, "registry"))
	p, daemon := newDockerPlatform(t)
	runsc := daemon.Runsc(t)
	p.artefactImage(t, daemon, "faas-pruned")
	// What an artefact's function runs on was made here: while an instance
	// uses it, nobody removes it.
	artefact := func(runtime string) string {
		return fmt.Sprintf("keepalive = 600\nconcurrent-requests = 4\n\n[container]\nimage = \"faas-pruned\"\nmemory = 512\nruntime = %q\n", runtime)
	}
	p.deployText(t, "artefact-runc", artefact("runc"))
	p.deployText(t, "artefact-runsc", artefact(runsc))
	const docker = "sandbox = \"docker\"\n"
	p.deploy(t, "warm", docker+"concurrency = 4\nkeepalive = \"10m\"")
	p.deploy(t, "cold", docker+"single-use = true")
	p.deploy(t, "cold-runsc", docker+"runtime = \""+runsc+"\"\nsingle-use = true\nstart-timeout = \"1m\"")
	p.deployText(t, "cold-registry", fmt.Sprintf("%simage = %q\nsingle-use = true\n", docker, reference))
	p.start(t)
	loads := map[string]*load{}
	for name, path := range map[string]string{
		"artefact-runc": "/hello", "artefact-runsc": "/hello", "warm": "/hello", "cold": "/hello", "cold-runsc": "/hello", "cold-registry": "/version",
	} {
		p.want(t, name, path)
		loads[name] = startLoad(p.at(name, path), 1, 5*time.Millisecond, nil)
		t.Cleanup(loads[name].stop)
	}
	pruned := 0
	for deadline := time.Now().Add(patience); pruned < 10 && time.Now().Before(deadline); {
		// It is refused while another one is at work, in Docker itself.
		if _, err := daemon.Docker(t.Context(), "system", "prune", "--all", "--force", "--volumes"); err == nil {
			pruned++
		}
	}
	for name, l := range loads {
		l.more(t, 1)
		l.wantNoFailure(t, name+" during prunes")
		answered, _ := l.count()
		t.Logf("%s: %d answers", name, answered)
	}
	if pruned < 10 {
		t.Errorf("only %d prunes", pruned)
	}
	wantOnlyInstances(t, p, daemon)
	p.stop(t)
}
