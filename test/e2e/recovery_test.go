package e2e

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// freeAddress returns a loopback address that nobody listens on, for a
// platform that must have the same one when it is started again.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestInstancesOutliveTheirPlatform(t *testing.T) {
	p := newPlatform(t, "--listen", freeAddress(t))
	name := p.deploy(t, "survivor", "concurrency = 4\nmax-instances = 1\nkeepalive = \"10m\"")
	p.start(t)
	first := wantJSON[told](t, p, name, "/token")
	p.want(t, name, "/say?text=before")
	id := p.instances(t, name)[0].ID
	node := p.status.Node

	h := p.hold(t, name)
	p.kill(t)
	select {
	case err := <-h.err:
		t.Logf("the request under way ended with: %v", err)
	case a := <-h.answer:
		t.Errorf("the request under way was answered with %d %q", a.status, a.body)
	case <-time.After(patience):
		t.Error("the request under way hangs")
	}
	for range 20 {
		if _, err := fetch(t.Context(), "GET", p.at(name, "/token"), nil); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("a request while there is no platform: %v, want it refused", err)
		}
	}

	p.start(t)
	if p.status.Node != node {
		t.Errorf("the platform was %s, is %s", node, p.status.Node)
	}
	again := wantJSON[told](t, p, name, "/token")
	if again.Token != first.Token {
		t.Error("another process answers than before the crash")
	}
	now := p.instances(t, name)
	if len(now) != 1 || now[0].ID != id {
		t.Errorf("instances %+v, want the one with id %s", now, id)
	}
	p.want(t, name, "/say?text=after")
	eventually(t, "the log of both runs", func() bool {
		out, _, _ := p.cli(t, "logs", name)
		before, after := strings.Index(out, "before"), strings.Index(out, "after")
		return before >= 0 && after > before
	})
	eventually(t, "the function to see that the held request has gone", func() bool {
		// /hold aborts when its body breaks off; what is left is this request.
		return wantJSON[told](t, p, name, "/token").Waiting == 0
	})
	p.stop(t)
}

func TestInstancesOfOldRevisionsAreNotServed(t *testing.T) {
	p := newPlatform(t)
	changed := p.deploy(t, "changed", "keepalive = \"10m\"\n[env]\nVERSION = \"1\"")
	removed := p.deploy(t, "removed", "keepalive = \"10m\"")
	p.start(t)
	if v := p.want(t, changed, "/version"); v != "1" {
		t.Fatalf("version %q", v)
	}
	p.want(t, removed, "/version")
	old := p.instances(t, changed)[0].ID
	p.kill(t)
	p.edit(t, changed, toml(t, "keepalive = \"10m\"\n[env]\nVERSION = \"2\""))
	p.remove(t, removed)
	p.start(t)
	if v := p.want(t, changed, "/version"); v != "2" {
		t.Errorf("version %q, want that of the file as it is now", v)
	}
	wantProblem(t, p.get(t, removed, "/version"), 404, removed)
	eventually(t, "the old instances to go", func() bool {
		all := p.instances(t, "")
		return len(all) == 1 && all[0].ID != old
	})
}

// TestPlatformThatIsKilledWhileItStarts kills it at twenty moments of its start.
func TestPlatformThatIsKilledWhileItStarts(t *testing.T) {
	p := newPlatform(t)
	name := p.deploy(t, "early", "min-instances = 1\nkeepalive = \"10m\"")
	for i := range 20 {
		if err := p.up(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-p.ended:
			t.Fatalf("it ended by itself: %v", p.cmd.ProcessState)
		case <-time.After(time.Duration(i) * 25 * time.Millisecond): // the moment
		}
		p.kill(t)
	}
	p.start(t)
	p.want(t, name, "/hello")
	if n := len(p.instances(t, name)); n > 2 {
		t.Errorf("%d instances, want the one that must be there and at most another", n)
	}
}
