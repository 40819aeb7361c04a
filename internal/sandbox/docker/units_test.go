package docker

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/moby/api/types/system"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

func TestExplainExit(t *testing.T) {
	for _, c := range []struct {
		name    string
		code    int
		oom     bool
		message string
		want    sandbox.Exit
	}{
		{"well", 0, false, "", sandbox.Exit{Reason: "exit status 0"}},
		{"status", 42, false, "", sandbox.Exit{Code: 42, Reason: "exit status 42"}},
		{"signal", 139, false, "", sandbox.Exit{Code: -1, Signal: 11, Reason: "killed by signal 11 (segmentation fault)"}},
		{"no signal", 200, false, "", sandbox.Exit{Code: 200, Reason: "exit status 200"}},
		{"memory", 137, true, "", sandbox.Exit{
			Code: -1, Signal: 9, OutOfMemory: true,
			Reason: "out of memory: it used more than its limit of 64 MiB; raise memory in function.toml",
		}},
		{"a child was killed, it ended well", 0, true, "", sandbox.Exit{Reason: "exit status 0"}},
		{"not known", -1, false, "", sandbox.Exit{Code: -1, Reason: "ended while the Docker Engine was away"}},
		{"could not run", 127, false, "no such file", sandbox.Exit{Code: 127, Reason: "no such file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := &instance{memory: 64 << 20}
			got := i.explainExit(sandbox.Exit{Code: c.code}, c.oom, c.message)
			if diff := cmp.Diff(c.want, got, cmpopts.IgnoreFields(sandbox.Exit{}, "At")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestHasGuestKernel(t *testing.T) {
	info := &engineInfo{system.Info{DefaultRuntime: "runc", Runtimes: map[string]system.RuntimeWithStatus{
		"runc":  {Runtime: system.Runtime{Path: "runc"}},
		"other": {Runtime: system.Runtime{Path: "/usr/bin/crun"}},
		"runsc": {Runtime: system.Runtime{Path: "/usr/local/bin/runsc"}},
		"kata":  {Runtime: system.Runtime{Type: "io.containerd.kata.v2"}},
		"shim":  {Runtime: system.Runtime{Type: "io.containerd.runc.v2"}},
	}}}
	for runtime, want := range map[string]bool{
		"": false, "runc": false, "other": false, "shim": false, "io.containerd.runc.v2": false, "runsc": true, "kata": true,
	} {
		if got := info.hasGuestKernel(&faas.Function{Runtime: runtime}); got != want {
			t.Errorf("runtime %q: got %v, want %v", runtime, got, want)
		}
	}
}

func TestProbeWithoutEngine(t *testing.T) {
	for address, want := range map[string]string{
		"unix://" + t.TempDir() + "/docker.sock": "start dockerd, or set DOCKER_HOST",
		"nonsense":                               "set DOCKER_HOST to unix:///PATH",
	} {
		d := New(sandbox.Host{Node: "n", StateDir: t.TempDir()}, Options{Host: address})
		c := d.Probe(t.Context())
		if c.Works || c.Reason == "" || c.Remedy != want {
			t.Errorf("%s: got %+v, want the remedy %q", address, c, want)
		}
		if err := errors.Join(d.Sweep(t.Context(), nil), d.Prune(nil, 0), d.Close()); err != nil {
			t.Errorf("%s: start-up and stop without an Engine: %v", address, err)
		}
	}
}

func TestRefusal(t *testing.T) {
	reason, remedy := diagnose(errors.New("permission denied while trying to connect to the docker API"))
	if reason != "refuses this user" || remedy == "" {
		t.Errorf("got %q, %q", reason, remedy)
	}
}

// TestConnsEnd ends connections whose other side says nothing.
func TestConnsEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var s conns
	var open []net.Conn
	dial := func() {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		s.add(c.(*net.TCPConn))
		open = append(open, c)
	}
	for range 2 * minConns {
		dial()
	}
	s.end()
	dial() // and one that comes late
	for _, c := range open {
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, net.ErrClosed) {
			t.Fatalf("read: got %d, %v, want its end", n, err)
		}
	}
}
