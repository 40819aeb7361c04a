package gvisor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/gvisor"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

// A rig is a driver on a host of its own, with a function.
type rig struct {
	*testing.T
	driver *gvisor.Driver
	host   sandbox.Host
	rev    *faas.Revision
}

func newRig(t *testing.T, node string, limits faas.Limits) *rig {
	t.Helper()
	base := t.TempDir()
	host := sandbox.Host{
		Node: node, StateDir: filepath.Join(base, "state"), RunDir: filepath.Join(base, "run"),
		Exe: "/proc/self/exe", Logger: slog.New(slog.DiscardHandler),
	}
	r := &rig{T: t, driver: gvisor.New(host, gvisor.Options{}), host: host}
	if c := r.driver.Probe(r.ctx()); !c.Works {
		sandboxtest.Skip(t, gvisor.Name, sandboxtest.NotWorking{Why: c.Reason, Remedy: c.Remedy})
	}
	rootfs := filepath.Join(base, "rootfs")
	if err := os.MkdirAll(rootfs, 0o755); err != nil {
		t.Fatal(err)
	}
	sandboxtest.PutGuest(t, filepath.Join(rootfs, "guest"))
	r.rev = &faas.Revision{
		Function: faas.Function{Ref: faas.NewRef("guest"), Command: []string{"/guest"}, Port: 8080, Limits: limits},
		Image:    faas.Image{Digest: "sha256:" + node, Rootfs: rootfs},
	}
	return r
}

func (r *rig) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	r.Cleanup(cancel)
	return ctx
}

// start starts an instance and returns its last record, too.
func (r *rig) start(name string) (sandbox.Instance, *sandbox.Record, error) {
	art, err := r.driver.Prepare(r.ctx(), r.rev)
	if err != nil {
		return nil, nil, err
	}
	rec := &sandbox.Record{ID: r.host.Node + "-" + name, Sandbox: gvisor.Name, Revision: r.rev, Dir: filepath.Join(r.host.RunDir, name)}
	if err := os.MkdirAll(rec.Dir, 0o700); err != nil {
		return nil, nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	defer null.Close()
	inst, err := r.driver.Start(r.ctx(), art, sandbox.Spec{
		ID: rec.ID, Revision: r.rev, Dir: rec.Dir, Output: null,
		Record: func(state any) (err error) { rec.State, err = json.Marshal(state); return err },
	})
	if err != nil {
		return nil, nil, err
	}
	r.Cleanup(func() {
		if err := inst.Stop(r.ctx()); err != nil {
			r.Error(err)
		}
	})
	return inst, rec, inst.Ready(r.ctx())
}

func get(ctx context.Context, inst sandbox.Instance, path string) (string, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return inst.Dial(ctx) },
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://guest"+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// TestInheritedDescriptors: what the platform was started with gets into no
// sandbox, not even where gVisor itself wants to have something.
func TestInheritedDescriptors(t *testing.T) {
	r := newRig(t, "ginherit", faas.Limits{})
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, fd := range []int{200, 254} {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			continue // somebody else's, which is not to be closed
		}
		if err := unix.Dup3(int(null.Fd()), fd, 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
	}
	inst, rec, err := r.start("i")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := get(r.ctx(), inst, "/hello"); err != nil || got != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	var state struct{ Pid int }
	if err := json.Unmarshal(rec.State, &state); err != nil || state.Pid == 0 {
		t.Fatalf("record %s: %v", rec.State, err)
	}
	if target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/200", state.Pid)); err == nil {
		t.Errorf("the sandbox has the platform's %s", target)
	}
}

// TestManyAtOnce starts more than the machine has processors for.
func TestManyAtOnce(t *testing.T) {
	r := newRig(t, "gmany", faas.Limits{})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			inst, _, err := r.start(fmt.Sprint("i", i))
			if err != nil {
				t.Errorf("instance %d: %v", i, err)
				return
			}
			if got, err := get(r.ctx(), inst, "/hello"); err != nil || got != "hello" {
				t.Errorf("instance %d: got %q, %v", i, got, err)
			}
		})
	}
	wg.Wait()
}

// TestSweep loses the record of one of two instances.
func TestSweep(t *testing.T) {
	r := newRig(t, "gsweep", faas.Limits{})
	known, rec, err := r.start("known")
	if err != nil {
		t.Fatal(err)
	}
	lost, _, err := r.start("lost")
	if err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(r.host.StateDir, gvisor.Name, ".image-stale")
	if err := os.WriteFile(stale, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	next := gvisor.New(r.host, gvisor.Options{})
	if err := next.Sweep(r.ctx(), map[string]bool{rec.ID: true}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-lost.Done():
	case <-r.ctx().Done():
		t.Error("the instance without a record still runs")
	}
	if got, err := get(r.ctx(), known, "/hello"); err != nil || got != "hello" {
		t.Errorf("the instance with a record: got %q, %v", got, err)
	}
	if _, err := os.Stat(stale); !os.IsNotExist(err) {
		t.Errorf("half an image is still there: %v", err)
	}
}

// TestRunsc runs a bundle with this binary as a complete runsc.
func TestRunsc(t *testing.T) {
	if os.Geteuid() != 0 {
		sandboxtest.Skip(t, gvisor.Name, sandboxtest.NotRoot{What: "run runsc"})
	}
	r := newRig(t, "grunsc", faas.Limits{})
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	runsc := filepath.Join(dir, "runsc")
	if err := os.Symlink(exe, runsc); err != nil {
		t.Fatal(err)
	}
	bundle := map[string]any{
		"ociVersion": "1.0.2", "hostname": "bundle",
		"process": map[string]any{"args": []string{"/guest"}, "cwd": "/", "env": []string{"GUEST_MODE=exit", "GUEST_CODE=7"}},
		"root":    map[string]any{"path": r.rev.Image.Rootfs, "readonly": true},
	}
	text, err := json.Marshal(bundle)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(r.ctx(), runsc, "--root", filepath.Join(dir, "root"), "--network=none", "--ignore-cgroups",
		"--gofer-network-namespace=new", "run", "--bundle", dir, "grunsc-bundle")
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("runsc run: exit status %d, %v; want the guest's 7\n%s", code, err, out)
	}
}

// TestDialAfterClose opens connections right after others were given up: a
// descriptor's number inside the sandbox then goes from one to the next.
func TestDialAfterClose(t *testing.T) {
	r := newRig(t, "gdial", faas.Limits{})
	inst, _, err := r.start("one")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				if conn, err := inst.Dial(r.ctx()); err != nil || conn.Close() != nil {
					t.Errorf("dial and close: %v", err)
				}
				if got, err := get(r.ctx(), inst, "/hello"); err != nil || got != "hello" {
					t.Errorf("after a connection was given up: got %q, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}
