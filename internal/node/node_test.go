package node

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/config"
	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/logs"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest"
)

// functions makes a folder with one function for each name.
func functions(t *testing.T, byName map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range byName {
		root := filepath.Join(dir, name, "rootfs")
		if err := os.MkdirAll(root, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(root, "program"), name)
		write(t, filepath.Join(dir, name, "function.toml"), "image = \"dir:./rootfs\"\ncommand = [\"/program\"]\n"+text)
	}
	return dir
}

func options(t *testing.T, dir string, fake *sandboxtest.Fake) Options {
	t.Helper()
	return Options{
		Config: config.Config{
			Functions: dir, Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0",
			DrainTimeout: config.Duration(5 * time.Second),
		},
		Dirs: config.Dirs{StateDir: filepath.Join(t.TempDir(), "state"), RunDir: filepath.Join(t.TempDir(), "run")},
		Exe:  "/nonexistent", Version: "test", Logger: slog.New(slog.DiscardHandler),
		Drivers: func(sandbox.Host) []sandbox.Driver { return []sandbox.Driver{fake} },
	}
}

// run runs a node until the test ends, and checks that it leaves nothing.
func run(t *testing.T, opts Options, fake *sandboxtest.Fake) (*Node, *control.Client) {
	t.Helper()
	n, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if held := fake.World().Held(); len(held) > 0 {
			t.Errorf("left %v", held)
		}
	})
	client := control.NewClient(opts.Dirs.RunDir)
	waitUntil(t, "ready", func() bool {
		s, err := client.Status(t.Context())
		return err == nil && s.Ready
	})
	return n, client
}

func waitUntil(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not %s after 20 s", what)
		}
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func newFake(script sandboxtest.Script) *sandboxtest.Fake {
	return sandboxtest.NewFake(sandboxtest.FakeOptions{Name: "gvisor", Script: script, Memory: 5 << 20})
}

func TestAPlatformServesAndTells(t *testing.T) {
	fake := newFake(nil)
	dir := functions(t, map[string]string{"hello": "", "broken": "memry = 3\n"})
	n, client := run(t, options(t, dir, fake), fake)
	if status, body := get(t, "http://"+n.GatewayAddress()+"/invoke/hello/hello"); status != 200 {
		t.Errorf("invoked: %d %s", status, body)
	}
	list, err := client.Functions(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("functions %+v, %v", list, err)
	}
	if b := list[0]; b.Name != "broken" || b.Revision != "" || !strings.Contains(b.Error, "memry") {
		t.Errorf("broken function is listed as %+v", b)
	}
	if h := list[1]; h.Name != "hello" || h.Revision == "" || h.Instances != 1 || h.Error != "" {
		t.Errorf("hello is listed as %+v", h)
	}
	instances, err := client.Instances(t.Context())
	if err != nil || len(instances) != 1 || instances[0].Served != 1 || instances[0].Sandbox != "gvisor" {
		t.Errorf("instances %+v, %v", instances, err)
	}
	detail, err := client.Describe(t.Context(), "hello")
	if err != nil || detail.Config == nil || detail.Config.Port != 8080 || len(detail.Running) != 1 {
		t.Errorf("described as %+v, %v", detail, err)
	}
	if status, body := get(t, "http://"+n.AdminAddress()+"/readyz"); status != 200 {
		t.Errorf("readyz: %d %s", status, body)
	}
	if _, body := get(t, "http://"+n.AdminAddress()+"/metrics"); !strings.Contains(body, `unifaas_cold_start_phase_seconds_count{phase="total",sandbox="gvisor"} 1`) {
		t.Errorf("metrics do not tell of one cold start")
	}
	if status, body := get(t, "http://"+n.GatewayAddress()+"/invoke/none/"); status != 404 {
		t.Errorf("unknown function: %d %s", status, body)
	}
}

func TestAFailedStartIsDescribedButNotInTheResponse(t *testing.T) {
	fake := newFake(nil)
	dir := functions(t, map[string]string{"bad": fmt.Sprintf("[env]\n%s = \"exit\"\n", guest.ModeEnv)})
	n, client := run(t, options(t, dir, fake), fake)
	status, body := get(t, "http://"+n.GatewayAddress()+"/invoke/bad/")
	if status != 502 {
		t.Errorf("status %d, want 502: %s", status, body)
	}
	detail, err := client.Describe(t.Context(), "bad")
	if err != nil {
		t.Fatal(err)
	}
	e := detail.StartError
	if e == nil || !strings.Contains(e.Error, "ended before it served") || e.Output == "" {
		t.Fatalf("described start error %+v", e)
	}
	if strings.Contains(body, e.Output) {
		t.Errorf("response %q holds the function's output %q", body, e.Output)
	}
	kept := 0
	if err := client.Logs(t.Context(), control.LogQuery{Function: "bad"}, func(logs.Entry) error { kept++; return nil }); err != nil || kept == 0 {
		t.Errorf("%d lines of output kept, %v", kept, err)
	}
}

func TestAChangedFunctionIsServed(t *testing.T) {
	fake := newFake(nil)
	dir := functions(t, map[string]string{"hello": ""})
	n, client := run(t, options(t, dir, fake), fake)
	url := "http://" + n.GatewayAddress() + "/invoke/hello/hello"
	get(t, url)
	before, err := client.Describe(t.Context(), "hello")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "hello", "function.toml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(text)+"memory = 77\n")
	waitUntil(t, "the new revision served and the old instance gone", func() bool {
		if status, body := get(t, url); status != 200 {
			t.Fatalf("invoked: %d %s", status, body)
		}
		d, err := client.Describe(t.Context(), "hello")
		return err == nil && d.Digest != before.Digest && len(d.Running) == 1 && d.Running[0].Revision == d.Revision
	})
}

func TestAFunctionThatComesAgainShowsNoOldOutput(t *testing.T) {
	fake := newFake(nil)
	text := fmt.Sprintf("[env]\n%s = \"exit\"\n", guest.ModeEnv)
	dir := functions(t, map[string]string{"f": text})
	opts := options(t, dir, fake)
	gone := filepath.Join(opts.Dirs.StateDir, "logs", "gone-before") // of an earlier run
	if err := os.MkdirAll(gone, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(gone, "i.log"), "")
	n, client := run(t, opts, fake)
	get(t, "http://"+n.GatewayAddress()+"/invoke/f/")
	output := func() (lines int, err error) {
		err = client.Logs(t.Context(), control.LogQuery{Function: "f"}, func(logs.Entry) error { lines++; return nil })
		return lines, err
	}
	if lines, err := output(); err != nil || lines == 0 {
		t.Fatalf("%d lines, %v; want what it said when it ended", lines, err)
	}
	file, aside := filepath.Join(dir, "f", "function.toml"), filepath.Join(dir, "f", "aside")
	if err := os.Rename(file, aside); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "removed", func() bool { _, err := output(); return faas.KindOf(err) == faas.KindNotFound })
	if err := os.Rename(aside, file); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "there again", func() bool { _, err := output(); return err == nil })
	if lines, err := output(); err != nil || lines != 0 {
		t.Errorf("%d lines of the function that was removed, %v", lines, err)
	}
	for _, function := range []string{"f", "gone-before"} {
		kept, err := filepath.Glob(filepath.Join(opts.Dirs.StateDir, "logs", ".removed", function+"@*", "*.log"))
		if err != nil || len(kept) != 1 {
			t.Errorf("kept of removed function %s: %q, %v; want one file", function, kept, err)
		}
	}
}

func TestWhatCannotBeMadeIsUndone(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	fake := newFake(nil)
	opts := options(t, functions(t, nil), fake)
	opts.Config.Listen = taken.Addr().String()
	if _, err := New(opts); err == nil {
		t.Fatal("a port that is taken was bound")
	}
	opts.Config.Listen, opts.Config.Functions = "127.0.0.1:0", "/nonexistent/functions"
	if _, err := New(opts); faas.KindOf(err) != faas.KindNotFound {
		t.Errorf("a missing functions folder: %v", err)
	}
	opts.Config.Functions = ""
	n, err := New(opts) // the locks are free again
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(opts.Dirs.RunDir, control.SocketName)); !os.IsNotExist(err) {
		t.Errorf("control socket after stop: %v", err)
	}
}

func TestTheDrainLetsRequestsFinish(t *testing.T) {
	fake := newFake(sandboxtest.Always(sandboxtest.StepRequest, sandboxtest.Fault{Delay: 300 * time.Millisecond}))
	opts := options(t, functions(t, map[string]string{"slow": ""}), fake)
	n, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	answered := make(chan int, 1)
	go func() {
		resp, err := http.Get("http://" + n.GatewayAddress() + "/invoke/slow/hello")
		if err != nil {
			answered <- 0
			return
		}
		_ = resp.Body.Close()
		answered <- resp.StatusCode
	}()
	waitUntil(t, "in flight", func() bool { return fake.Calls(sandboxtest.StepRequest) == 1 })
	stop()
	if status := <-answered; status != 200 {
		t.Errorf("the request in flight got %d", status)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if held := fake.World().Held(); len(held) > 0 {
		t.Errorf("left %v", held)
	}
}
