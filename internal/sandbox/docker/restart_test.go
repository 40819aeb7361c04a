package docker_test

import (
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/dockertest"
)

// TestEngineIsKilled has the Engine go and come back without its containers.
func TestEngineIsKilled(t *testing.T) {
	p := newPlatform(t, dockertest.Options{})
	rev := p.revision(guest(t))
	art := p.prepare(rev)
	r := p.start(art, rev)
	if err := p.daemon.Stop(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_, err := p.launch(art, rev)
	if faas.KindOf(err) != faas.KindUnavailable || !strings.Contains(err.Error(), "start dockerd") {
		t.Errorf("Start without an Engine: got %v, want it unavailable, and the remedy", err)
	}
	if err := p.daemon.Start(); err != nil {
		t.Fatal(err)
	}
	p.wantEnd(r)
	again := p.start(art, rev)
	if got := again.get("/hello"); got != "hello" {
		t.Errorf("after the Engine came back: got %q", got)
	}
}

// TestLiveRestore has containers outlive the Engine.
func TestLiveRestore(t *testing.T) {
	p := newPlatform(t, dockertest.Options{LiveRestore: true})
	rev := p.revision(guest(t))
	r := p.start(p.prepare(rev), rev)
	r.get("/say?text=before")
	p.eventually("output before", func() bool { return strings.Contains(r.output.String(), "before") })
	if err := p.daemon.Stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.get("/say?text=meanwhile")
	if err := p.daemon.Start(); err != nil {
		t.Fatal(err)
	}
	p.eventually("output of the time without an Engine", func() bool { return strings.Contains(r.output.String(), "meanwhile") })
	r.get("/say?text=after")
	p.eventually("output after", func() bool { return strings.Contains(r.output.String(), "after") })
	if n := strings.Count(r.output.String(), "meanwhile"); n != 1 {
		t.Errorf("what was said meanwhile came %d times", n)
	}
	select {
	case <-r.Done():
		t.Errorf("the instance ended: %v", r.Wait())
	default:
	}
	if _, err := get(p.ctx(), r, "/exit?code=9"); err == nil {
		t.Error("an instance that exited has answered")
	}
	if exit := p.wantEnd(r); exit.Code != 9 {
		t.Errorf("Wait after the Engine came back: got %+v, want code 9", exit)
	}
}

// TestPruneUnderLoad removes all that Docker does not use while instances are
// started.
func TestPruneUnderLoad(t *testing.T) {
	p := newPlatform(t, dockertest.Options{})
	rev := p.revision(guest(t))
	art := p.prepare(rev)
	stop, pruned := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				pruned <- n
				return
			default:
				// Two at once are refused.
				if _, err := p.daemon.Docker(t.Context(), "system", "prune", "--all", "--force"); err == nil {
					n++
				}
			}
		}
	}()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				r, err := p.launch(art, rev)
				if err != nil {
					t.Errorf("Start: %v", err)
					continue
				}
				if err := r.Ready(p.ctx()); err != nil {
					t.Errorf("Ready: %v", err)
				} else if got, err := get(p.ctx(), r, "/hello"); got != "hello" {
					t.Errorf("got %q, %v", got, err)
				}
				p.stop(r)
			}
		})
	}
	wg.Wait()
	close(stop)
	if n := <-pruned; n == 0 {
		t.Error("nothing was pruned")
	}
}

// TestContainerIsRemoved has somebody else remove an instance's container.
func TestContainerIsRemoved(t *testing.T) {
	p := newPlatform(t, dockertest.Options{})
	rev := p.revision(guest(t))
	r := p.start(p.prepare(rev), rev)
	p.docker("rm", "--force", r.ID())
	p.wantEnd(r)
	p.stop(r)
}

// TestSweep removes what no record tells of, and only that.
func TestSweep(t *testing.T) {
	p, other := newPlatform(t, dockertest.Options{}), newPlatform(t, dockertest.Options{})
	rev := p.revision(guest(t))
	art := p.prepare(rev)
	known, lost := p.start(art, rev), p.start(art, rev)
	foreign := other.start(other.prepare(rev), rev)
	if err := p.freshDriver().Sweep(p.ctx(), map[string]bool{known.ID(): true}); err != nil {
		t.Fatal(err)
	}
	p.wantEnd(lost)
	for _, r := range []*running{known, foreign} {
		if got := r.get("/hello"); got != "hello" {
			t.Errorf("after the sweep: got %q", got)
		}
	}
}
