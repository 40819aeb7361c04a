package runc

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/breakout"
)

const (
	server = "github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest/cmd"
)

// build puts a program of this module into the function's image.
func (r *rig) build(pkg, name string) {
	r.t.Helper()
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(r.rev.Image.Rootfs, name), pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		r.t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	r.rev.Function.Command = []string{"/" + name}
	r.rev.Function.Port = 8080
}

// serve starts instance n and waits until it is ready.
func (r *rig) serve(n int) (sandbox.Instance, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	art, err := r.Prepare(ctx, r.rev)
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }()
	id := fmt.Sprintf("%s-%d", r.host.Node, n)
	dir := filepath.Join(r.host.RunDir, "instances", id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	i, err := r.Start(ctx, art, sandbox.Spec{ID: id, Revision: r.rev, Dir: dir, Output: null, Record: forgetful})
	if err != nil {
		return nil, err
	}
	r.t.Cleanup(func() {
		if err := i.Stop(context.WithoutCancel(ctx)); err != nil {
			r.t.Error(err)
		}
		if err := os.Remove(dir); err != nil { // empty by then
			r.t.Error(err)
		}
	})
	return i, i.Ready(ctx)
}

func get(i sandbox.Instance, path string) (string, error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return i.Dial(ctx) }}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	resp, err := client.Get("http://guest" + path)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// ownDevices is why something works that others forbid.
const ownDevices = "an instance's /dev is a small file system of its own, which can be written to, as Docker's"

// TestBreakOut runs a program that tries what Docker's defaults forbid, as the
// image's root and as another user.
func TestBreakOut(t *testing.T) {
	for name, user := range breakout.Users {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Name)
			r.build(breakout.Package, "breaker")
			breakout.AddSetuid(t, r.rev.Image.Rootfs)
			r.rev.Image.Config.User = user
			i, err := r.serve(1)
			if err != nil {
				t.Fatal(err)
			}
			breakout.Check(t, func(path string) (string, error) { return get(i, path) }, map[string]string{
				"touch null": ownDevices, "write /dev/new": ownDevices,
			})
		})
	}
}

// TestManyAtOnce starts many in parallel: none disturbs another, neither in
// starting nor in stopping.
func TestManyAtOnce(t *testing.T) {
	const many = 40
	r := newRig(t, Name)
	r.build(server, "guest")
	var wg sync.WaitGroup
	for n := range many {
		wg.Go(func() {
			i, err := r.serve(n)
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := get(i, "/hello"); err != nil || got != "hello" {
				t.Errorf("instance %d: got %q, %v", n, got, err)
			}
			if n%2 == 0 {
				if err := i.Stop(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// TestCrun: a second real runtime, by its name. It belongs to the sandbox runc
// and must be there wherever that must be tested; but Debian's refuses hosts
// whose control groups are of both versions, so that it need not work there.
func TestCrun(t *testing.T) {
	r := newRig(t, "crun")
	if _, err := findExecutable("crun", os.Getenv("PATH")); err != nil {
		sandboxtest.Skip(t, Name, sandboxtest.Missing{What: "crun", Remedy: remedyFor("crun", err)})
	}
	if _, err := r.Prepare(t.Context(), r.rev); err != nil {
		sandboxtest.Skip(t, "crun", sandboxtest.NotWorking{Why: err.Error()})
	}
	r.build(server, "guest")
	i, err := r.serve(1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := get(i, "/hello"); err != nil || got != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := get(i, "/exit?code=5"); err == nil {
		t.Error("an instance that exited has answered")
	}
	if exit := i.Wait(); exit.Code != 5 {
		t.Errorf("exit: got %+v", exit)
	}
}
