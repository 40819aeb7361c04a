package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/unifaas/unifaas/internal/control"
)

func queued(n int) func(control.Function) bool {
	return func(f control.Function) bool { return f.Queued == n }
}

// together sends n GETs at once and returns their answers.
func (p *platform) together(t *testing.T, n int, function, path string) []answer {
	t.Helper()
	answers := make([]answer, n)
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { answers[i], errs[i] = fetch(t.Context(), "GET", p.at(function, path), nil) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return answers
}

// tokens returns the different processes that sent the answers, all of which
// must be 200.
func tokens(t *testing.T, answers []answer) []string {
	t.Helper()
	var found []string
	for _, a := range answers {
		var v told
		if err := json.Unmarshal([]byte(a.body), &v); err != nil || a.status != 200 {
			t.Fatalf("answered %d %s", a.status, a.body)
		}
		found = append(found, v.Token)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func TestConcurrencyPutsRequestsTogether(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "shared", "concurrency = 3\nmax-instances = 1")
	// Each of them is answered only when all are inside the same process.
	if got := tokens(t, p.together(t, 3, name, "/meet?n=3")); len(got) != 1 {
		t.Errorf("%d processes served, want 1", len(got))
	}
}

func TestConcurrencyOneKeepsRequestsApart(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "apart", "max-instances = 2")
	h1, h2 := p.hold(t, name), p.hold(t, name)
	if n := len(p.instances(t, name)); n != 2 {
		t.Errorf("%d instances for two requests at once, want 2", n)
	}
	third := make(chan answer, 1)
	go func() {
		a, _ := fetch(t.Context(), "GET", p.at(name, "/token"), nil)
		third <- a
	}()
	// max-instances is reached: it must wait, and then be served.
	p.awaitFunction(t, name, "to have a queue", queued(1))
	h1.finish(t)
	if a := <-third; a.status != 200 {
		t.Errorf("the third was answered with %d %s", a.status, a.body)
	}
	h2.finish(t)
	if n := len(p.instances(t, name)); n > 2 {
		t.Errorf("%d instances, over max-instances = 2", n)
	}
}

func TestQueueThatIsFullRefuses(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "full", "max-instances = 1\nqueue = 2")
	h := p.hold(t, name)
	waiting := make(chan answer, 2)
	for range 2 {
		go func() {
			a, _ := fetch(t.Context(), "GET", p.at(name, "/token"), nil)
			waiting <- a
		}()
	}
	p.awaitFunction(t, name, "to have a full queue", queued(2))
	a := p.get(t, name, "/token")
	wantProblem(t, a, http.StatusTooManyRequests, name, "queue")
	if after, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || after < 1 {
		t.Errorf("Retry-After %q, want a number of seconds", a.header.Get("Retry-After"))
	}
	h.finish(t)
	for range 2 {
		if a := <-waiting; a.status != 200 {
			t.Errorf("one that waited was answered with %d %s", a.status, a.body)
		}
	}
}

func TestSingleUseServesOnce(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "once", "single-use = true")
	const n = 6
	if got := tokens(t, p.together(t, n, name, "/token")); len(got) != n {
		t.Errorf("%d processes for %d requests, want as many", len(got), n)
	}
	p.awaitInstances(t, name, 0) // they go at once, long before keepalive
}

// TestTheArtefactsFormWithoutDocker: this platform knows no Docker Engine, nor a
// registry, so that what the image is can't be told. How long the instances
// stay is for TestArtefactRegistry to show.
func TestTheArtefactsFormWithoutDocker(t *testing.T) {
	p := commonPlatform(t)
	const name = "artefact"
	p.write(t, name, "keepalive = 30\nconcurrent-requests = 1\nsingle-use = true\n[container]\nimage = \"example/function\"\n")
	eventually(t, "the reason", func() bool {
		d, err := p.client.Describe(t.Context(), name)
		return err == nil && strings.Contains(d.Error, "example/function") && strings.Contains(d.Error, "dockerd")
	})
	if a := p.get(t, name, "/"); a.status != http.StatusServiceUnavailable && a.status != http.StatusNotFound {
		t.Errorf("got %d %s", a.status, a.body)
	}
	p.remove(t, name)
}

func TestKeepaliveEnds(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "brief", "keepalive = \"500ms\"")
	first := wantJSON[told](t, p, name, "/token")
	p.awaitInstances(t, name, 0)
	if again := wantJSON[told](t, p, name, "/token"); again.Token == first.Token {
		t.Error("the same process answered after keepalive had ended")
	}
}

func TestMinInstancesAreThereBeforeTheFirstRequest(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "ready", "min-instances = 2\nkeepalive = \"100ms\"")
	idle := func() []string {
		var ids []string
		for _, i := range p.instances(t, name) {
			if i.State == "idle" {
				ids = append(ids, i.ID)
			}
		}
		slices.Sort(ids)
		return ids
	}
	eventually(t, "two idle instances", func() bool { return len(idle()) == 2 })
	before := idle()
	p.want(t, name, "/token")
	eventually(t, "the instance to be idle again", func() bool { return len(idle()) == 2 })
	if after := idle(); !slices.Equal(before, after) {
		t.Errorf("the instances were %v, are %v: keepalive is not for those", before, after)
	}
	p.remove(t, name)
	p.awaitInstances(t, name, 0)
}

func TestInstancesThatWentHoldNoDescriptors(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "frugal", "single-use = true")
	dir := filepath.Join("/proc", strconv.Itoa(p.status.PID), "fd")
	descriptors := func() int {
		fds, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		fds, _ := os.ReadDir(dir)
		for _, fd := range fds {
			to, _ := os.Readlink(filepath.Join(dir, fd.Name()))
			t.Logf("descriptor %s: %s", fd.Name(), to)
		}
	})
	warm := func(n int) {
		for range n {
			p.together(t, 4, name, "/token")
		}
		p.awaitInstances(t, name, 0)
	}
	warm(1)
	httpClient.CloseIdleConnections()
	before := descriptors()
	warm(4)
	eventually(t, fmt.Sprintf("the platform to hold no more than %d descriptors", before), func() bool {
		// Each time: a connection becomes idle a moment after its response.
		httpClient.CloseIdleConnections()
		return descriptors() <= before+2 // those of requests to its control socket come and go
	})
}
