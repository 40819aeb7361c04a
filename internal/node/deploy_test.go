package node

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/deploy"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest"
)

// bundle is a deploy of a function whose root file system holds content.
func bundle(t *testing.T, name, content, toml string) deploy.Request {
	t.Helper()
	var b bytes.Buffer
	p := deploy.NewPacker(&b)
	for path, text := range map[string]string{
		"function.toml": "image = \"dir:./rootfs\"\ncommand = [\"/program\"]\n" + toml, "rootfs/program": content,
	} {
		if err := p.Text(path, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	return deploy.Request{Name: name, Source: "folder ./" + name, File: "./" + name + "/function.toml", Try: true, Bundle: &b}
}

func TestWhatIsDeployedIsServedAndTold(t *testing.T) {
	fake := newFake(nil)
	opts := options(t, functions(t, map[string]string{"theirs": ""}), fake)
	n, client := run(t, opts, fake)
	first, err := client.Deploy(t.Context(), bundle(t, "mine", "one", ""))
	if err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, "http://"+n.GatewayAddress()+"/invoke/mine/hello"); status != 200 {
		t.Errorf("invoked: %d %s", status, body)
	}
	detail, err := client.Describe(t.Context(), "mine")
	if err != nil {
		t.Fatal(err)
	}
	if detail.Origin != "deployed" || detail.Deployed == nil || detail.Deployed.Number != 1 || detail.Deployed.Source != "folder ./mine" ||
		detail.Previous != nil || detail.Digest != first.Current.Digest {
		t.Errorf("described as %+v", detail)
	}
	// The instance that was tried has served, so there is no second one.
	if len(detail.Running) != 1 || detail.Running[0].Served != 1 {
		t.Errorf("instances %+v, want the one that was tried", detail.Running)
	}
	second, err := client.Deploy(t.Context(), bundle(t, "mine", "two", ""))
	if err != nil || second.Previous == nil || second.Previous.Digest != first.Current.Digest {
		t.Fatalf("deployed again: %+v, %v", second, err)
	}
	back, err := client.Rollback(t.Context(), "mine", true)
	if err != nil || back.Current.Digest != first.Current.Digest || back.Previous.Digest != second.Current.Digest {
		t.Fatalf("rolled back: %+v, %v", back, err)
	}
	list, err := client.Functions(t.Context())
	if err != nil || len(list) != 2 || list[0].Origin != "deployed" || list[1].Origin != "folder" {
		t.Errorf("listed as %+v, %v", list, err)
	}
	if err := client.Delete(t.Context(), "mine", true); err != nil {
		t.Fatal(err)
	}
	if instances, err := client.Instances(t.Context()); err != nil || len(instances) > 0 {
		t.Errorf("after the delete: %+v, %v", instances, err)
	}
	if status, body := get(t, "http://"+n.GatewayAddress()+"/invoke/mine/hello"); status != 404 {
		t.Errorf("invoked after the delete: %d %s", status, body)
	}
	if _, err := os.Stat(filepath.Join(opts.Dirs.StateDir, "functions", "mine")); !os.IsNotExist(err) {
		t.Errorf("what was deployed is left: %v", err)
	}
}

func TestADeployThatDoesNotStartChangesNothing(t *testing.T) {
	fake := newFake(nil)
	n, client := run(t, options(t, functions(t, nil), fake), fake)
	if _, err := client.Deploy(t.Context(), bundle(t, "f", "one", "")); err != nil {
		t.Fatal(err)
	}
	bad := fmt.Sprintf("[env]\n%s = \"exit\"\n", guest.ModeEnv)
	_, err := client.Deploy(t.Context(), bundle(t, "f", "two", bad))
	var o *control.OutputError
	if faas.KindOf(err) != faas.KindBroken || !errors.As(err, &o) || o.Text == "" || !strings.Contains(err.Error(), "ended before it served") {
		t.Fatalf("%v, want one of kind broken with the function's output", err)
	}
	if status, body := get(t, "http://"+n.GatewayAddress()+"/invoke/f/hello"); status != 200 {
		t.Errorf("the one before: %d %s", status, body)
	}
	// Without the try it is taken, and its owner goes back.
	request := bundle(t, "f", "two", bad)
	request.Try = false
	if _, err := client.Deploy(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if status, _ := get(t, "http://"+n.GatewayAddress()+"/invoke/f/hello"); status != 502 {
		t.Errorf("the bad one: %d, want 502", status)
	}
	if _, err := client.Rollback(t.Context(), "f", true); err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, "http://"+n.GatewayAddress()+"/invoke/f/hello"); status != 200 {
		t.Errorf("after the rollback: %d %s", status, body)
	}
}

func TestNamesOfTheFolderAndOfDeploys(t *testing.T) {
	fake := newFake(nil)
	dir := functions(t, map[string]string{"theirs": ""})
	n, client := run(t, options(t, dir, fake), fake)
	file := filepath.Join(dir, "theirs", "function.toml")
	for what, err := range map[string]error{
		"deploy": func() error { _, err := client.Deploy(t.Context(), bundle(t, "theirs", "x", "")); return err }(),
		"delete": client.Delete(t.Context(), "theirs", true),
	} {
		if faas.KindOf(err) != faas.KindInvalid || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v, want it refused for %s", what, err, file)
		}
	}
	deployed, err := client.Deploy(t.Context(), bundle(t, "both", "x", ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "both"), os.DirFS(filepath.Join(dir, "theirs"))); err != nil {
		t.Fatal(err)
	}
	both := func() (f control.Function) {
		list, err := client.Functions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, f = range list {
			if f.Name == "both" {
				break
			}
		}
		return f
	}
	waitUntil(t, "told", func() bool { return both().Conflict != "" })
	if f := both(); f.Revision != deployed.Current.Revision || f.Error != "" || !strings.Contains(f.Conflict, filepath.Join(dir, "both", "function.toml")) {
		t.Errorf("listed as %+v, want the deployed one, and the folder's as an error", f)
	}
	if err := client.Delete(t.Context(), "both", true); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the folder's", func() bool { f := both(); return f.Origin == "folder" && f.Conflict == "" })
	if status, body := get(t, "http://"+n.GatewayAddress()+"/invoke/both/hello"); status != 200 {
		t.Errorf("invoked: %d %s", status, body)
	}
}

// TestFallbackThatDoesNotWork is found out before it is needed.
func TestFallbackThatDoesNotWork(t *testing.T) {
	fake := newFake(nil)
	_, client := run(t, options(t, functions(t, nil), fake), fake)
	_, err := client.Deploy(t.Context(), bundle(t, "mine", "one", "fallback = \"docker\"\n"))
	if err == nil || !strings.Contains(err.Error(), "its fallback") || !strings.Contains(err.Error(), `sandbox "docker" is not in this build`) {
		t.Errorf("deployed: %v", err)
	}
	list, err := client.Functions(t.Context())
	if err != nil || len(list) > 0 {
		t.Errorf("it is there: %+v, %v", list, err)
	}
}

// TestDeployedImagesOutliveTheirPrune: nobody has resolved the image of what a
// rollback leads to for long.
func TestDeployedImagesOutliveTheirPrune(t *testing.T) {
	fake := newFake(nil)
	n, client := run(t, options(t, "", fake), fake)
	for _, content := range []string{"one", "two", "three"} {
		if _, err := client.Deploy(t.Context(), bundle(t, "f", content, "")); err != nil {
			t.Fatal(err)
		}
	}
	n.pruneImages(t.Context(), 0)
	if kept := keptTrees(t, n); kept["one"] || !kept["two"] || !kept["three"] {
		t.Errorf("kept are %v, want two and three", kept)
	}
}

// TestImagesInUseOutliveTheirPrune has an instance of a revision that is long
// replaced serve on.
func TestImagesInUseOutliveTheirPrune(t *testing.T) {
	fake := newFake(nil)
	n, client := run(t, options(t, "", fake), fake)
	var lease interface{ Release(bool) }
	for _, content := range []string{"one", "two", "three", "four"} {
		if _, err := client.Deploy(t.Context(), bundle(t, "f", content, "")); err != nil {
			t.Fatal(err)
		}
		if content == "two" {
			continue
		}
		rev, err := n.catalog.Lookup("f")
		if err != nil {
			t.Fatal(err)
		}
		held, err := n.pool.Acquire(t.Context(), rev)
		if err != nil {
			t.Fatal(err)
		}
		if content == "one" {
			lease = held // a long stream
		} else {
			held.Release(true)
		}
	}
	n.pruneImages(t.Context(), 0)
	if kept := keptTrees(t, n); !kept["one"] || kept["two"] || !kept["three"] || !kept["four"] {
		t.Errorf("beside an instance of one, kept are %v", kept)
	}
	lease.Release(true)
	waitUntil(t, "stopped", func() bool { return len(n.pool.Revisions()) == 1 })
	n.pruneImages(t.Context(), 0)
	if kept := keptTrees(t, n); kept["one"] {
		t.Error("the image of one is kept for nobody")
	}
}

// keptTrees returns the contents of the programs that are in the store.
func keptTrees(t *testing.T, n *Node) map[string]bool {
	t.Helper()
	kept := map[string]bool{}
	trees, err := filepath.Glob(filepath.Join(n.opts.Dirs.StateDir, "store", "trees", "*", "rootfs", "program"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tree := range trees {
		content, err := os.ReadFile(tree)
		if err != nil {
			t.Fatal(err)
		}
		kept[string(content)] = true
	}
	return kept
}

func TestDeploysWhileThePlatformStops(t *testing.T) {
	fake := newFake(sandboxtest.Always(sandboxtest.StepRequest, sandboxtest.Fault{Delay: 500 * time.Millisecond}))
	opts := options(t, functions(t, map[string]string{"slow": ""}), fake)
	n, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	client := control.NewClient(opts.Dirs.RunDir)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	waitUntil(t, "ready", func() bool { s, err := client.Status(t.Context()); return err == nil && s.Ready })
	go func() {
		if resp, err := http.Get("http://" + n.GatewayAddress() + "/invoke/slow/hello"); err == nil {
			_ = resp.Body.Close()
		}
	}()
	waitUntil(t, "in flight", func() bool { return fake.Calls(sandboxtest.StepRequest) == 1 })
	stop()
	waitUntil(t, "stopping", func() bool { s, err := client.Status(t.Context()); return err != nil || !s.Ready })
	if _, err := client.Deploy(t.Context(), bundle(t, "f", "x", "")); faas.KindOf(err) != faas.KindUnavailable {
		t.Errorf("a deploy during the drain: %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestHostileUploads sends what the client would not. The platform goes on.
func TestHostileUploads(t *testing.T) {
	fake := newFake(nil)
	opts := options(t, "", fake)
	_, client := run(t, opts, fake)
	escape := func(t *testing.T) io.Reader {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, name := range []string{"function.toml", "../../../escaped"} {
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 1}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write([]byte{'#'}); err != nil {
				t.Fatal(err)
			}
		}
		return &b
	}
	for _, c := range []struct {
		name   string
		bundle io.Reader
		kind   faas.Kind
		want   string
	}{
		{"out of the bundle", escape(t), faas.KindInvalid, "escaped"},
		{"no tar", strings.NewReader(strings.Repeat("x", 1<<20)), faas.KindInvalid, "tar"},
		{"more than allowed", big{}.tar(t), faas.KindTooLarge, "larger than 1024 MiB"},
		{"a tar and more", io.MultiReader(bytes.NewReader(make([]byte, 1024)), io.LimitReader(zeros{}, 64<<20)), faas.KindInvalid, "follows"},
		{"nothing", strings.NewReader(""), faas.KindInvalid, "function.toml"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := client.Deploy(t.Context(), deploy.Request{Name: "f", Try: true, Bundle: c.bundle})
			if faas.KindOf(err) != c.kind || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want one of kind %v with %q", err, c.kind, c.want)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(opts.Dirs.StateDir, "..", "escaped")); !os.IsNotExist(err) {
		t.Errorf("a bundle got out: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(opts.Dirs.StateDir, "functions", "*", "*")); len(left) > 0 {
		t.Errorf("left %q", left)
	}
	if _, err := client.Deploy(t.Context(), bundle(t, "f", "x", "")); err != nil {
		t.Errorf("a good one afterwards: %v", err)
	}
}

// big is a tar with a file of 2 GiB, which never exists anywhere.
type big struct{}

func (big) tar(t *testing.T) io.Reader {
	var head bytes.Buffer
	if err := tar.NewWriter(&head).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "big", Size: 2 << 30}); err != nil {
		t.Fatal(err)
	}
	return io.MultiReader(&head, io.LimitReader(zeros{}, 64<<20))
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestAClientThatGoesAwayEndsItsDeploy(t *testing.T) {
	fake := newFake(sandboxtest.Always(sandboxtest.StepReady, sandboxtest.Fault{Delay: 20 * time.Second}))
	_, client := run(t, options(t, "", fake), fake)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := client.Deploy(ctx, bundle(t, "f", "x", ""))
		result <- err
	}()
	waitUntil(t, "tried", func() bool { return fake.Calls(sandboxtest.StepReady) == 1 })
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("the client got %v", err)
	}
	waitUntil(t, "given up", func() bool { return len(fake.World().Held()) == 0 })
	if list, err := client.Functions(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("deployed all the same: %+v, %v", list, err)
	}
}
