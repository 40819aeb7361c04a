package docker_test

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/dockertest"
)

// TestBridgeLeadsNowhere has a function on the platform's own bridge try the
// machine, by each of its addresses, and its neighbour.
func TestBridgeLeadsNowhere(t *testing.T) {
	p := newPlatform(t, dockertest.Options{})
	runsc := p.daemon.Runsc(t)
	rev := p.revision(guest(t), func(rev *faas.Revision) { rev.Function.Runtime = runsc })
	art := p.prepare(rev)
	r, neighbour := p.start(art, rev), p.start(art, rev)
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	targets := []string{p.docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", neighbour.ID()) + ":8080"}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			targets = append(targets, net.JoinHostPort(ip.IP.String(), port))
		}
	}
	if len(targets) < 3 { // docker0 and our bridge
		t.Fatalf("only %v to try", targets)
	}
	for _, target := range targets {
		if got := r.get("/dial?network=tcp&addr=" + target); !strings.Contains(got, `"error":"`) {
			t.Errorf("the function reached %s: %s", target, got)
		}
	}
	if got := p.docker("inspect", "--format", "{{.HostConfig.Runtime}}", r.ID()); got != runsc {
		t.Errorf("the runtime is %q", got)
	}
}

// TestBridgeGoesWithItsDriver has Docker let go of the last container only while
// the driver closes.
func TestBridgeGoesWithItsDriver(t *testing.T) {
	p := newPlatform(t, dockertest.Options{})
	runsc := p.daemon.Runsc(t)
	rev := p.revision(guest(t), func(rev *faas.Revision) { rev.Function.Runtime = runsc })
	r := p.start(p.prepare(rev), rev)
	removed := make(chan error, 1)
	time.AfterFunc(500*time.Millisecond, func() {
		_, err := p.daemon.Docker(t.Context(), "rm", "--force", r.ID())
		removed <- err
	})
	if err := errors.Join(p.driver.Close(), <-removed); err != nil {
		t.Error(err)
	}
	if left := p.docker("network", "ls", "--quiet", "--filter", "name=unifaas-"+p.host.Node); left != "" {
		t.Errorf("the network %s is left", left)
	}
	if _, err := net.InterfaceByName("uf-" + p.host.Node); err == nil {
		t.Error("its bridge is left")
	}
}

// TestUnknownRuntime names those that there are.
func TestUnknownRuntime(t *testing.T) {
	p := newPlatform(t, dockertest.Options{})
	rev := p.revision(guest(t), func(rev *faas.Revision) { rev.Function.Runtime = "nonesuch" })
	_, err := p.driver.Prepare(p.ctx(), rev)
	if faas.KindOf(err) != faas.KindUnavailable || !strings.Contains(err.Error(), "runc") {
		t.Errorf("Prepare: got %v, want it unavailable, and the runtimes", err)
	}
}
