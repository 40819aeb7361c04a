package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/control"
)

// An instance that accepts connections and never answers its health check is
// made up for, and stopped, while nobody asks for anything.
func TestWedgedInstanceIsReplaced(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "wedged", "health = \"http:/health\"\nkeepalive = \"10m\"")
	first := wantJSON[told](t, p, name, "/token").Token
	old := p.instances(t, name)[0].ID
	p.want(t, name, "/wedge?ms=3600000")
	began := time.Now()
	eventually(t, "another instance to be ready", func() bool {
		for _, i := range p.instances(t, name) {
			if i.ID != old && i.ID != "" && i.State == "idle" {
				return true
			}
		}
		return false
	})
	t.Logf("replaced after %v", time.Since(began).Round(time.Millisecond))
	if got := wantJSON[told](t, p, name, "/token").Token; got == first {
		t.Error("a request was given to the one that is wedged")
	}
	eventually(t, "the wedged instance to be stopped", func() bool {
		list := p.instances(t, name)
		return len(list) == 1 && list[0].ID != old
	})
	exits := p.describe(t, name).Exits
	if len(exits) != 1 || !strings.Contains(exits[0].Reason, "health check") {
		t.Errorf("exits: %+v", exits)
	}
}

// One that is only late comes back.
func TestLateInstanceComesBack(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "late", "health = \"http:/health\"\nkeepalive = \"10m\"")
	p.want(t, name, "/wedge?ms=2000")
	eventually(t, "the instance to be put aside, and another to start", func() bool { return len(p.instances(t, name)) == 2 })
	eventually(t, "both to be there", func() bool {
		list := p.instances(t, name)
		return len(list) == 2 && list[0].State == "idle" && list[1].State == "idle"
	})
}

// A function whose sandbox fails is served by its fallback, and by its own
// sandbox again when that is mended.
func TestFallback(t *testing.T) {
	needsSandbox(t, "runc")
	needsGVisor(t)
	installed, err := exec.LookPath("runc")
	if err != nil {
		t.Fatal(err)
	}
	runtime := filepath.Join(t.TempDir(), "own-runtime")
	if err := os.WriteFile(runtime, []byte("#!/bin/sh\necho broken, as asked >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := newPlatform(t).start(t)
	p.deploy(t, "f", fmt.Sprintf("sandbox = \"runc\"\nruntime = %q\nfallback = \"gvisor\"\nkeepalive = \"10m\"", runtime))
	eventually(t, "the function to fall back, every request served", func() bool {
		p.want(t, "f", "/hello")
		return p.describe(t, "f").Relief != nil
	})
	if i := p.instances(t, "f"); len(i) != 1 || i[0].Sandbox != "gvisor" {
		t.Errorf("instances: %+v", i)
	}
	if out, _, _ := p.cli(t, "describe", "f"); !strings.Contains(out, "falls back:") || !strings.Contains(out, "does not work here") {
		t.Errorf("describe says:\n%s", out)
	}
	if err := os.Remove(runtime); err != nil {
		t.Fatal(err)
	}
	if err := copyFile(runtime, installed); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the function to be back in its own sandbox, every request served", func() bool {
		p.want(t, "f", "/hello")
		return p.describe(t, "f").Relief == nil
	})
	p.want(t, "f", "/hello")
	own := func(i control.Instance) bool { return i.Sandbox == "runc" && i.Served > 0 }
	if list := p.instances(t, "f"); len(list) == 0 || !own(list[0]) && !own(list[len(list)-1]) {
		t.Errorf("instances: %+v", list)
	}
	p.stop(t)
}
