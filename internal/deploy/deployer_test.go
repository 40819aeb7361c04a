package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/internal/faas"
)

func TestDeployReplaceAndGoBack(t *testing.T) {
	r := newRig(t, t.TempDir())
	for i, content := range []string{"one", "two", "three"} {
		out := r.deploy(t, "f", content)
		if got := r.served(t, "f"); got != content || out.Current.Number != i+1 || out.Unchanged {
			t.Fatalf("after deploy %d of %q, %q is served and the answer is %+v", i+1, content, got, out)
		}
	}
	if diff := cmp.Diff([]int{2, 3}, r.onDisk(t, "f")); diff != "" {
		t.Errorf("deployments on disk:\n%s", diff)
	}
	for _, want := range []string{"two", "three", "two"} {
		out, err := r.Rollback(t.Context(), "f", true)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.served(t, "f"); got != want || out.Previous == nil {
			t.Errorf("after a rollback, %q is served, want %q; %+v", got, want, out)
		}
	}
	// What comes after a rollback is newer than everything there was.
	if out := r.deploy(t, "f", "four"); out.Current.Number != 4 || out.Previous.Number != 2 {
		t.Errorf("deployed %+v, want number 4 after 2", out)
	}
	if diff := cmp.Diff([]int{2, 4}, r.onDisk(t, "f")); diff != "" {
		t.Errorf("deployments on disk:\n%s", diff)
	}
	if p := r.platform; p.tried != 7 || p.serving != 7 || p.stopped != 0 {
		t.Errorf("%d instances tried, %d serve, %d stopped; want 7, 7, 0", p.tried, p.serving, p.stopped)
	}
}

func TestTheSameAgainChangesNothing(t *testing.T) {
	r := newRig(t, t.TempDir())
	r.deploy(t, "f", "one")
	r.deploy(t, "f", "two")
	out := r.deploy(t, "f", "two")
	if !out.Unchanged || out.Current.Number != 2 || out.Previous.Number != 1 || r.platform.tried != 2 {
		t.Errorf("deployed the same: %+v after %d tries", out, r.platform.tried)
	}
	if diff := cmp.Diff([]int{1, 2}, r.onDisk(t, "f")); diff != "" {
		t.Errorf("deployments on disk:\n%s", diff)
	}
}

func TestAFailedDeployLeavesWhatWas(t *testing.T) {
	r := newRig(t, t.TempDir())
	r.deploy(t, "f", "one")
	broken := errors.New("does not start")
	for _, c := range []struct {
		name string
		do   func(ctx context.Context, cancel func()) error
		want error
	}{
		{"its image is no good", func(ctx context.Context, _ func()) error {
			r.images.fail(broken)
			_, err := r.Deploy(ctx, request(t, "f", "two", ""))
			return err
		}, broken},
		{"its instance does not start", func(ctx context.Context, _ func()) error {
			r.platform.tryErr = broken
			defer func() { r.platform.tryErr = nil }()
			_, err := r.Deploy(ctx, request(t, "f", "two", ""))
			return err
		}, broken},
		{"its owner goes away", func(ctx context.Context, cancel func()) error {
			r.platform.onTry = func(context.Context) { cancel() }
			defer func() { r.platform.onTry = nil }()
			_, err := r.Deploy(ctx, request(t, "f", "two", ""))
			return err
		}, context.Canceled},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		if err := c.do(ctx, cancel); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		cancel()
		if got := r.served(t, "f"); got != "one" {
			t.Errorf("%s: %q is served", c.name, got)
		}
		if diff := cmp.Diff([]int{1}, r.onDisk(t, "f")); diff != "" {
			t.Errorf("%s: deployments on disk:\n%s", c.name, diff)
		}
	}
	if _, err := r.Rollback(t.Context(), "f", true); faas.KindOf(err) != faas.KindNotFound {
		t.Errorf("a rollback after failed deploys only: %v", err)
	}
}

func TestDelete(t *testing.T) {
	r := newRig(t, t.TempDir())
	r.platform.folder["theirs"] = "/srv/functions/theirs/function.toml"
	r.deploy(t, "f", "one")
	r.platform.drain = make(chan struct{})
	deleted := make(chan error, 1)
	go func() { deleted <- r.Delete(t.Context(), "f", true) }()
	for r.Deployer.opts.Store.get("f") != nil {
		select {
		case err := <-deleted:
			t.Fatalf("deleted before its instances had gone: %v", err)
		default:
		}
	}
	// While its instances drain, another may be deployed, and stays.
	out := r.deploy(t, "f", "two")
	close(r.platform.drain)
	if err := <-deleted; err != nil {
		t.Fatal(err)
	}
	if got := r.served(t, "f"); got != "two" || out.Previous != nil {
		t.Errorf("%q is served, %+v; want two, without anything before", got, out)
	}
	if diff := cmp.Diff([]int{out.Current.Number}, r.onDisk(t, "f")); diff != "" {
		t.Errorf("deployments on disk:\n%s", diff)
	}
	if err := r.Delete(t.Context(), "f", true); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(filepath.Join(r.dir, "f")); len(entries) > 0 || r.served(t, "f") != "" {
		t.Errorf("after the delete there are %v", entries)
	}
	for name, want := range map[string]faas.Kind{"f": faas.KindNotFound, "theirs": faas.KindInvalid, "../f": faas.KindInvalid} {
		_, rollback := r.Rollback(t.Context(), name, true)
		for _, err := range []error{r.Delete(t.Context(), name, true), rollback} {
			if faas.KindOf(err) != want || name == "theirs" && !strings.Contains(err.Error(), "/srv/functions/theirs/function.toml") {
				t.Errorf("%s: %v, want one of kind %v", name, err, want)
			}
		}
	}
}

func TestFlagsAreStrongerThanTheFile(t *testing.T) {
	r := newRig(t, t.TempDir())
	q := request(t, "f", "x", "memory = 5\nport = 81\nlabels = { team = \"edge\", x = \"1\" }\n[env]\nA = \"1\"\nB = \"2\"\n")
	memory, cpus, single := int64(77), 2.0, true
	pids, disk, queue, ready, health := int64(9), int64(8), int64(7), "http:/up", "http:/well"
	q.Overrides = Overrides{
		Memory: &memory, CPUs: &cpus, SingleUse: &single, Command: []string{"/program", "-v"}, Env: map[string]string{"B": "two", "C": "3=3"},
		Pids: &pids, Disk: &disk, Queue: &queue, Ready: &ready, Health: &health, Labels: map[string]string{"x": "2", "y": "3"},
	}
	if _, err := r.Deploy(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	rev, err := r.platform.catalog.Lookup("f")
	if err != nil {
		t.Fatal(err)
	}
	fn := rev.Function
	if fn.Limits.Memory != 77<<20 || fn.Limits.CPUs != 2 || fn.Port != 81 || fn.SingleUse != faas.GoAtOnce {
		t.Errorf("deployed as %+v", fn)
	}
	if fn.Limits.Pids != 9 || fn.Limits.Disk != 8<<20 || fn.Queue != 7 || fn.Ready != (faas.Ready{Kind: faas.ReadyHTTP, Path: "/up"}) || fn.Health != "/well" {
		t.Errorf("deployed as %+v", fn)
	}
	if diff := cmp.Diff(map[string]string{"team": "edge", "x": "2", "y": "3"}, fn.Labels); diff != "" {
		t.Errorf("labels:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"A": "1", "B": "two", "C": "3=3"}, fn.Env); diff != "" {
		t.Errorf("environment:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/program", "-v"}, fn.Command); diff != "" {
		t.Errorf("command:\n%s", diff)
	}
	if out, err := r.Deploy(t.Context(), request(t, "f", "x", "memory = 5\n")); err != nil || out.Unchanged {
		t.Errorf("without the flags it is another revision: %+v, %v", out, err)
	}
}

func TestATagIsPinned(t *testing.T) {
	r := newRig(t, t.TempDir())
	pinned := "example.org/a@sha256:" + strings.Repeat("1", 64)
	r.Deployer.opts.Pin = func(_ context.Context, fn *faas.Function) (string, error) {
		if fn.Image.Location != "example.org/a:latest" {
			return "", fmt.Errorf("asked for %q", fn.Image)
		}
		return pinned, nil
	}
	q := request(t, "f", "", "")
	q.Bundle = bytes.NewReader(archive(t, file("function.toml", "image = \"example.org/a:latest\"\nmemory = 9\n")))
	if _, err := r.Deploy(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	r.close()
	again := newRig(t, r.dir) // the tag may have moved; nobody is asked
	rev, err := again.platform.catalog.Lookup("f")
	if err != nil || rev.Function.Image.Location != pinned || rev.Function.Limits.Memory != 9<<20 {
		t.Errorf("after a restart it is %+v, %v", rev, err)
	}
}

// TestDeploysOfOneFunctionAreOneAfterTheOther: each gets a true answer, and
// the newest is what is served.
func TestDeploysOfOneFunctionAreOneAfterTheOther(t *testing.T) {
	r := newRig(t, t.TempDir())
	var mu sync.Mutex
	busy, most := 0, 0
	count := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		busy += n
		most = max(most, busy)
	}
	r.platform.onTry = func(context.Context) { count(1); count(-1) }
	const n = 12
	var wg sync.WaitGroup
	newest, last := 0, ""
	for i := range n {
		wg.Go(func() {
			content := fmt.Sprint("content ", i)
			out, err := r.Deploy(context.Background(), request(t, "f", content, ""))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if out.Current.Number > newest {
				newest, last = out.Current.Number, content
			}
		})
	}
	wg.Wait()
	if got := r.served(t, "f"); got != last || newest != n || most != 1 {
		t.Errorf("%q is served, want %q of deployment %d; up to %d at the same time", got, last, newest, most)
	}
	if found := r.onDisk(t, "f"); len(found) != 2 || !slices.Contains(found, n) {
		t.Errorf("deployments on disk: %v", found)
	}
	if len(r.locks.held) > 0 {
		t.Errorf("%d locks are left", len(r.locks.held))
	}
}

func TestStopGivesUpWhatIsUnderWay(t *testing.T) {
	r := newRig(t, t.TempDir())
	r.deploy(t, "f", "one")
	trying := make(chan struct{})
	r.platform.onTry = func(ctx context.Context) { close(trying); <-ctx.Done() }
	result := make(chan error, 1)
	go func() {
		_, err := r.Deploy(context.Background(), request(t, "f", "two", ""))
		result <- err
	}()
	<-trying
	r.Stop()
	late := r.Delete(t.Context(), "f", true)
	for _, err := range []error{<-result, late} {
		if faas.KindOf(err) != faas.KindUnavailable {
			t.Errorf("%v, want one of kind unavailable", err)
		}
	}
	if r.served(t, "f") != "one" {
		t.Error("what was served is no more")
	}
}
