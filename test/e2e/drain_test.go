package e2e

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"
)

func TestDrainFinishesWhatIsUnderWay(t *testing.T) {
	p := newPlatform(t, "--listen", freeAddress(t))
	name := p.deploy(t, "drained", "concurrency = 4")
	p.start(t)
	h := p.hold(t, name)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	httpClient.CloseIdleConnections()
	eventually(t, "new connections to be refused", func() bool {
		_, err := fetch(t.Context(), "GET", p.at(name, "/hello"), nil)
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	if !p.running() {
		t.Fatal("the platform ended while a request was under way")
	}
	if lines := h.finish(t); len(lines) != 2 {
		t.Errorf("the request under way was answered with %q", lines)
	}
	code, err := p.await()
	if err != nil || code != 0 {
		t.Errorf("exit code %d, %v; want 0", code, err)
	}
}

func TestDrainIsBounded(t *testing.T) {
	p := newPlatform(t, "--drain-timeout", "1s")
	name := p.deploy(t, "endless", "concurrency = 4")
	p.start(t)
	status := make(chan int, 1)
	go func() {
		a, _ := fetch(context.Background(), "GET", p.at(name, "/wait"), nil)
		status <- a.status
	}()
	eventually(t, "the request to be under way", func() bool {
		return wantJSON[told](t, p, name, "/token").Waiting == 1
	})
	begin := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := p.await(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 900*time.Millisecond || took > 20*time.Second {
		t.Errorf("the platform ended after %v, want a bit more than a second", took)
	}
	if s := <-status; s != 0 && s != 503 {
		t.Errorf("the request that never ends was answered with status %d", s)
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	p := newPlatform(t)
	name := p.deploy(t, "endless", "concurrency = 4\nkeepalive = \"10m\"")
	p.start(t)
	h := p.hold(t, name)
	token := wantJSON[told](t, p, name, "/token").Token
	for range 2 {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the signal to be taken", func() bool { return !p.running() || !isReady(t.Context(), p.status.Admin) })
	}
	code, err := p.await()
	if err != nil || code != 130 {
		t.Errorf("exit code %d, %v; want 130", code, err)
	}
	if err := h.body.Close(); err != nil {
		t.Fatal(err)
	}
	p.start(t)
	if again := wantJSON[told](t, p, name, "/token").Token; again != token {
		t.Error("the instance did not outlive the platform that was aborted")
	}
}
