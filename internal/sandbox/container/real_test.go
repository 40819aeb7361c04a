package container_test

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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/oci"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/container"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

const guest = "github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest/cmd"

// A rig is a driver on a host of its own, with a function.
type rig struct {
	testing.TB
	driver *container.Driver
	host   sandbox.Host
	rootfs string
	rev    *faas.Revision
}

func newRig(t testing.TB, node string) *rig {
	t.Helper()
	base := t.TempDir()
	host := sandbox.Host{
		Node: node, StateDir: filepath.Join(base, "state"), RunDir: filepath.Join(base, "run"),
		Exe: "/proc/self/exe", Logger: slog.New(slog.DiscardHandler),
	}
	r := &rig{TB: t, host: host, rootfs: filepath.Join(base, "rootfs")}
	r.driver = r.newDriver()
	if c := r.driver.Probe(r.ctx()); !c.Works {
		sandboxtest.Skip(t, container.Name, sandboxtest.NotWorking{Why: c.Reason, Remedy: c.Remedy})
	}
	for _, dir := range oci.MountPoints() {
		if err := os.MkdirAll(filepath.Join(r.rootfs, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.build("guest", guest)
	r.rev = &faas.Revision{
		Function: faas.Function{Ref: faas.NewRef("guest"), Command: []string{"/guest"}, Port: 8080},
		Image:    faas.Image{Digest: "sha256:" + node, Rootfs: r.rootfs},
	}
	return r
}

// newDriver makes another driver on the same host, as a new platform would.
func (r *rig) newDriver() *container.Driver {
	d := container.New(r.host, container.Options{Launcher: launcher})
	r.Cleanup(func() {
		if err := d.Close(); err != nil {
			r.Error(err)
		}
	})
	return d
}

// build puts a program into the image. Another user's run gets it ready made.
func (r *rig) build(name, pkg string) {
	r.Helper()
	if made := os.Getenv("CONTAINER_TEST_" + strings.ToUpper(name)); made != "" {
		program, err := os.ReadFile(made)
		if err == nil {
			err = os.WriteFile(filepath.Join(r.rootfs, name), program, 0o755)
		}
		if err != nil {
			r.Fatal(err)
		}
		return
	}
	build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(r.rootfs, name), pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		r.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
}

func (r *rig) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	r.Cleanup(cancel)
	return ctx
}

// start starts an instance, waits until it serves, and returns its last
// record, too.
func (r *rig) start(name string) (sandbox.Instance, *sandbox.Record, error) {
	art, err := r.driver.Prepare(r.ctx(), r.rev)
	if err != nil {
		return nil, nil, err
	}
	return r.startFrom(art, name, func(*sandbox.Spec) {})
}

func (r *rig) startFrom(art sandbox.Artifact, name string, edit func(*sandbox.Spec)) (sandbox.Instance, *sandbox.Record, error) {
	rec := &sandbox.Record{ID: r.host.Node + "-" + name, Sandbox: container.Name, Revision: r.rev, Dir: filepath.Join(r.host.RunDir, name)}
	if err := os.MkdirAll(rec.Dir, 0o700); err != nil {
		return nil, nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	defer null.Close()
	spec := sandbox.Spec{
		ID: rec.ID, Revision: r.rev, Dir: rec.Dir, Output: null,
		Record: func(state any) (err error) { rec.State, err = json.Marshal(state); return err },
	}
	edit(&spec)
	inst, err := r.driver.Start(r.ctx(), art, spec)
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

// TestManyAtOnce starts more than the machine has processors for.
func TestManyAtOnce(t *testing.T) {
	r := newRig(t, "ctrmany")
	var wg sync.WaitGroup
	for i := range 30 {
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

// TestAnyDescriptor starts instances from a process whose files have all kinds
// of numbers: the fork moves some of them out of the way of others.
func TestAnyDescriptor(t *testing.T) {
	r := newRig(t, "ctrfd")
	for range 60 {
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		r.Cleanup(func() { _ = null.Close() })
		inst, _, err := r.start(fmt.Sprint("fd", null.Fd()))
		if err != nil {
			t.Fatalf("the last descriptor is %d: %v", null.Fd(), err)
		}
		if err := inst.Stop(r.ctx()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSweep loses the record of one of two instances.
func TestSweep(t *testing.T) {
	r := newRig(t, "ctrsweep")
	known, rec, err := r.start("known")
	if err != nil {
		t.Fatal(err)
	}
	lost, _, err := r.start("lost")
	if err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(r.host.RunDir, ".container-probe-stale")
	if err := os.Mkdir(stale, 0o700); err != nil {
		t.Fatal(err)
	}
	next := r.newDriver()
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
		t.Errorf("a probe's folder is still there: %v", err)
	}
}

// TestRecoveredExit: who takes an instance over is not its parent, and learns
// its end's status all the same.
func TestRecoveredExit(t *testing.T) {
	r := newRig(t, "ctrexit")
	for path, want := range map[string]sandbox.Exit{"/exit?code=5": {Code: 5}, "/crash": {Code: -1, Signal: 11}} {
		_, rec, err := r.start("one")
		if err != nil {
			t.Fatal(err)
		}
		taken, err := r.newDriver().Recover(r.ctx(), *rec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := get(r.ctx(), taken, path); err == nil {
			t.Errorf("%s was answered", path)
		}
		if got := taken.Wait(); got.Code != want.Code || got.Signal != want.Signal {
			t.Errorf("%s: got %+v, want %+v", path, got, want)
		}
		if err := taken.Stop(r.ctx()); err != nil {
			t.Error(err)
		}
	}
}
