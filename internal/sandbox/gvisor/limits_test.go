package gvisor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/gvisor"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

// parentFolder makes the folder of node's groups in the hierarchy at root, or
// skips the test.
func parentFolder(t *testing.T, root, node string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		sandboxtest.Skip(t, gvisor.Name, sandboxtest.NotRoot{What: "make cgroups"})
	}
	dir := filepath.Join(root, "unifaas-"+node)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		sandboxtest.Skip(t, gvisor.Name, sandboxtest.NotWorking{Why: err.Error(), Remedy: "mount cgroups writable"})
	}
	// A group that stays, so that the parent does.
	keep := filepath.Join(dir, "keep")
	if err := os.MkdirAll(keep, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(os.Remove(keep), os.Remove(dir)); err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
	})
	return dir
}

func setFile(t *testing.T, path, value string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

func layout(t *testing.T) cgroup.Layout {
	t.Helper()
	l, err := cgroup.Discover()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestNothingRunsWithoutItsLimits takes away the place for groups: a start is
// refused then, and works again once there is place.
func TestNothingRunsWithoutItsLimits(t *testing.T) {
	l := layout(t)
	if l.V2 == "" {
		sandboxtest.Skip(t, gvisor.Name, sandboxtest.NotWorking{Why: "no cgroup v2 hierarchy, whose number of groups can be limited", Remedy: "mount cgroup2"})
	}
	r := newRig(t, "gfull", faas.Limits{})
	place := filepath.Join(parentFolder(t, l.V2, r.host.Node), "cgroup.max.descendants")
	setFile(t, place, "0")
	driver := gvisor.New(r.host, gvisor.Options{})
	r.driver = driver
	if c := driver.Probe(r.ctx()); c.Works || !strings.Contains(c.Reason, "limits") || c.Remedy == "" {
		t.Errorf("Probe: got %+v, want it to say that limits can't be enforced, and a remedy", c)
	}
	_, _, err := r.start("one")
	if faas.KindOf(err) != faas.KindUnavailable || !strings.Contains(fmt.Sprint(err), "limits can't be enforced") || errors.Is(err, unix.EAGAIN) {
		t.Errorf("Start: got %v (%v), want it refused for want of limits", err, faas.KindOf(err))
	}
	setFile(t, place, "max")
	// The failure is not held against the driver.
	inst, _, err := r.start("two")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := get(r.ctx(), inst, "/hello"); err != nil || got != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	if c := driver.Probe(r.ctx()); !c.Works {
		t.Errorf("Probe: got %+v", c)
	}
	// Nor does a success make a later failure pass.
	setFile(t, place, "1")
	if _, _, err = r.start("three"); faas.KindOf(err) != faas.KindUnavailable {
		t.Errorf("Start: got %v (%v), want it refused", err, faas.KindOf(err))
	}
	setFile(t, place, "max")
}

// TestTooFewProcesses lets a platform's instances have fewer and fewer
// processes and threads together: that is the machine's fault, whichever step
// of the start it breaks.
func TestTooFewProcesses(t *testing.T) {
	l := layout(t)
	root := l.V1["pids"]
	if root == "" {
		root = l.V2
	}
	r := newRig(t, "gfew", faas.Limits{})
	limit := filepath.Join(parentFolder(t, root, r.host.Node), "pids.max")
	refused := 0
	for n := range 14 {
		setFile(t, limit, fmt.Sprint(n))
		inst, _, err := r.start(fmt.Sprint("n", n))
		if err == nil {
			if err := inst.Stop(r.ctx()); err != nil {
				t.Fatal(err)
			}
			continue
		}
		refused++
		if faas.KindOf(err) != faas.KindUnavailable || !errors.Is(err, unix.EAGAIN) {
			t.Errorf("with %d processes: got %v (%v), want it to be EAGAIN", n, err, faas.KindOf(err))
		}
	}
	if refused < 3 {
		t.Errorf("only %d starts failed", refused)
	}
	setFile(t, limit, "max")
}

// TestHostNetworkIsForRoot asks as an ordinary user, where there is one to be.
func TestHostNetworkIsForRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("TestImpossible covers it for root")
	}
	d := gvisor.New(sandbox.Host{Node: "guser", RunDir: t.TempDir(), StateDir: t.TempDir()}, gvisor.Options{HostNetwork: true})
	if c := d.Probe(context.Background()); c.Works || !strings.Contains(c.Reason, "root only") {
		t.Errorf("Probe: got %+v", c)
	}
}
