package launch_test

import (
	"context"
	"errors"
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

	"github.com/prometheus/client_golang/prometheus"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/launch"
	"github.com/unifaas/unifaas/internal/logs"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest"
)

// platform is what a run of the platform keeps on disk.
type platform struct{ run, logs string }

func newPlatform(t *testing.T) platform { return platform{t.TempDir(), t.TempDir()} }

// launcher makes a launcher as a run of the platform would.
func (p platform) launcher(t *testing.T, drivers ...sandbox.Driver) *launch.Launcher {
	t.Helper()
	collector, err := logs.New(logs.Options{Dir: p.logs})
	if err != nil {
		t.Fatal(err)
	}
	l, err := launch.New(launch.Options{
		Host:    sandbox.Host{Node: "utest1", RunDir: p.run, StateDir: t.TempDir()},
		Drivers: drivers, Logs: collector,
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// left lists the instance folders that exist.
func (p platform) left(t *testing.T) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(p.run, "instances", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

func revision(env map[string]string) *faas.Revision {
	return &faas.Revision{Digest: "sha256:0123456789abcdef", Function: faas.Function{
		Ref: faas.NewRef("hello"), Sandbox: "fake", Port: 8080, Concurrency: 1, StartTimeout: 10 * time.Second, Env: env,
	}}
}

func get(t *testing.T, inst sandbox.Instance, path string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return inst.Dial(ctx) },
		DisableKeepAlives: true,
	}}
	resp, err := client.Get("http://function" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}

func TestLaunchServesAndLeavesNothing(t *testing.T) {
	p, fake := newPlatform(t), sandboxtest.NewFake(sandboxtest.FakeOptions{})
	l := p.launcher(t, fake)
	inst, err := l.Launch(t.Context(), revision(nil))
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, inst, "/hello"); !strings.HasPrefix(got, "200 ") {
		t.Errorf("answered %q", got)
	}
	if !strings.HasPrefix(inst.ID(), "utest1-") || len(inst.ID()) > 40 {
		t.Errorf("instance id %q", inst.ID())
	}
	if n := len(p.left(t)); n != 1 {
		t.Errorf("%d instance folders while it runs, want 1", n)
	}
	for range 2 { // idempotent
		if err := inst.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if left := p.left(t); len(left) != 0 {
		t.Errorf("left %v", left)
	}
	if left := fake.World().Held(); len(left) != 0 {
		t.Errorf("the sandbox still holds %v", left)
	}
}

func TestEveryFailureIsUndone(t *testing.T) {
	boom := errors.New("boom")
	steps := []struct {
		step  sandboxtest.Step
		index int
	}{
		{sandboxtest.StepPrepare, 0}, {sandboxtest.StepStart, 0}, {sandboxtest.StepReady, 0},
	}
	for i := range sandboxtest.FakeResources {
		steps = append(steps, struct {
			step  sandboxtest.Step
			index int
		}{sandboxtest.StepAcquire, i})
	}
	for _, s := range steps {
		t.Run(fmt.Sprintf("%s %d", s.step, s.index), func(t *testing.T) {
			p := newPlatform(t)
			fake := sandboxtest.NewFake(sandboxtest.FakeOptions{Script: sandboxtest.At(s.step, s.index, sandboxtest.Fault{Err: boom})})
			l := p.launcher(t, fake)
			if _, err := l.Launch(t.Context(), revision(nil)); !errors.Is(err, boom) {
				t.Errorf("error %v, want its cause in the chain", err)
			}
			if left := append(p.left(t), fake.World().Held()...); len(left) != 0 {
				t.Errorf("left %v", left)
			}
			inst, err := l.Launch(t.Context(), revision(nil)) // the fault was for once
			if err != nil {
				t.Fatalf("the next launch: %v", err)
			}
			if err := inst.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestErrorsTellWhatHappened(t *testing.T) {
	hang := sandboxtest.NewFake(sandboxtest.FakeOptions{Name: "hang", Script: sandboxtest.Always(sandboxtest.StepReady, sandboxtest.Fault{Hang: true})})
	broken := sandboxtest.NewFake(sandboxtest.FakeOptions{Name: "broken", Capabilities: &sandbox.Capabilities{Reason: "no kernel", Remedy: "buy one"}})
	fake := sandboxtest.NewFake(sandboxtest.FakeOptions{})
	l := newPlatform(t).launcher(t, fake, hang, broken)
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	gone := func() context.Context {
		ctx, giveUp := context.WithCancel(t.Context())
		giveUp()
		return ctx
	}
	for _, c := range []struct {
		name, sandbox string
		ctx           func() context.Context
		env           map[string]string
		kind          faas.Kind
		says          string
	}{
		{"exits at once", "fake", t.Context, map[string]string{guest.ModeEnv: "exit"}, faas.KindBroken, "ended before it served on port 8080"},
		{"never ready", "hang", short, nil, faas.KindTimeout, "did not serve on port 8080"},
		{"given up", "hang", gone, nil, faas.KindCanceled, ""},
		{"does not work here", "broken", t.Context, nil, faas.KindUnavailable, "no kernel; buy one"},
		{"not in this build", "osv", t.Context, nil, faas.KindUnavailable, "not in this build"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rev := revision(c.env)
			rev.Digest += c.sandbox
			rev.Function.Sandbox = c.sandbox
			_, err := l.Launch(c.ctx(), rev)
			if faas.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v (%s), want %s and %q", err, faas.KindOf(err), c.kind, c.says)
			}
		})
	}
}

func TestWhatNoDriverCanGiveIsRefused(t *testing.T) {
	fake := sandboxtest.NewFake(sandboxtest.FakeOptions{})
	l := newPlatform(t).launcher(t, fake)
	for name, ask := range map[string]func(*faas.Function){
		"egress":   func(fn *faas.Function) { fn.Egress = []string{"internet"} },
		"callback": func(fn *faas.Function) { fn.Ready.Kind = faas.ReadyCallback },
	} {
		rev := revision(nil)
		ask(&rev.Function)
		_, err := l.Launch(t.Context(), rev)
		if faas.KindOf(err) != faas.KindUnavailable || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if n := fake.Calls(sandboxtest.StepStart); n != 0 {
		t.Errorf("%d instances were started", n)
	}
}

func TestRecoverTakesOverTheLivingAndClearsTheDead(t *testing.T) {
	p, world := newPlatform(t), &sandboxtest.World{}
	first := p.launcher(t, sandboxtest.NewFake(sandboxtest.FakeOptions{World: world}))
	alive, err := first.Launch(t.Context(), revision(nil))
	if err != nil {
		t.Fatal(err)
	}
	dead, err := first.Launch(t.Context(), revision(nil))
	if err != nil {
		t.Fatal(err)
	}
	world.Crash(dead.ID())
	<-dead.Done()
	// As a crash between the folder's creation and its record leaves it.
	if err := os.Mkdir(filepath.Join(p.run, "instances", "utest1-torn"), 0o700); err != nil {
		t.Fatal(err)
	}

	second := p.launcher(t, sandboxtest.NewFake(sandboxtest.FakeOptions{World: world}))
	recovered, err := second.Recover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(recovered) != 1 || recovered[0].Instance.ID() != alive.ID() {
		t.Fatalf("recovered %v, want the one that lives", recovered)
	}
	if rev := recovered[0].Revision; rev.Function.Ref != faas.NewRef("hello") || rev.Digest != revision(nil).Digest {
		t.Errorf("recovered revision %+v", rev)
	}
	if got := get(t, recovered[0].Instance, "/hello"); !strings.HasPrefix(got, "200 ") {
		t.Errorf("answered %q", got)
	}
	if err := recovered[0].Instance.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := append(p.left(t), world.Held()...); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestRecoverKeepsWhatItCannotUndo(t *testing.T) {
	p, world := newPlatform(t), &sandboxtest.World{}
	if _, err := p.launcher(t, sandboxtest.NewFake(sandboxtest.FakeOptions{World: world})).Launch(t.Context(), revision(nil)); err != nil {
		t.Fatal(err)
	}
	failing := sandboxtest.NewFake(sandboxtest.FakeOptions{World: world, Script: sandboxtest.Always(sandboxtest.StepRecover, sandboxtest.Fault{Err: errors.New("boom")})})
	if _, err := p.launcher(t, failing).Recover(t.Context()); err == nil || len(p.left(t)) != 1 {
		t.Errorf("error %v, %d records; want an error and the record kept", err, len(p.left(t)))
	}
	recovered, err := p.launcher(t, sandboxtest.NewFake(sandboxtest.FakeOptions{World: world})).Recover(t.Context())
	if err != nil || len(recovered) != 1 {
		t.Fatalf("the next run recovered %v, %v", recovered, err)
	}
	if err := recovered[0].Instance.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// stuck is a driver whose probe takes until it is let go.
type stuck struct {
	*sandboxtest.Fake
	probing, let chan struct{}
}

func (s *stuck) Probe(ctx context.Context) sandbox.Capabilities {
	close(s.probing)
	<-s.let
	return s.Fake.Probe(ctx)
}

func TestEstimateWaitsForNoProbe(t *testing.T) {
	driver := &stuck{Fake: sandboxtest.NewFake(sandboxtest.FakeOptions{}), probing: make(chan struct{}), let: make(chan struct{})}
	l := newPlatform(t).launcher(t, driver)
	auto := revision(nil)
	auto.Function.Sandbox = "auto"
	probed := make(chan struct{})
	go func() {
		defer close(probed)
		l.Probe(context.Background())
	}()
	<-driver.probing
	for _, rev := range []*faas.Revision{revision(nil), auto} {
		estimated := make(chan int64, 1)
		go func() { estimated <- l.Estimate(rev) }()
		select {
		case bytes := <-estimated:
			if bytes != 0 {
				t.Errorf("sandbox %q: estimated %d bytes before anything is known", rev.Function.Sandbox, bytes)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("sandbox %q: the estimate waits for the probe", rev.Function.Sandbox)
		}
	}
	close(driver.let)
	<-probed
	for _, rev := range []*faas.Revision{revision(nil), auto} {
		if bytes := l.Estimate(rev); bytes != 1<<20 {
			t.Errorf("sandbox %q: estimated %d bytes once it is known", rev.Function.Sandbox, bytes)
		}
	}
}

// unlucky is a driver whose first probe fails.
type unlucky struct {
	*sandboxtest.Fake
	probes int
}

func (u *unlucky) Probe(ctx context.Context) sandbox.Capabilities {
	if u.probes++; u.probes == 1 {
		return sandbox.Capabilities{Reason: "its process was killed"}
	}
	return u.Fake.Probe(ctx)
}

func TestProbeThatFailsByChance(t *testing.T) {
	driver := &unlucky{Fake: sandboxtest.NewFake(sandboxtest.FakeOptions{})}
	l := newPlatform(t).launcher(t, driver)
	for range 2 {
		if s := l.Probe(t.Context()); len(s) != 1 || !s[0].Works {
			t.Errorf("got %+v", s)
		}
	}
	if driver.probes != 2 {
		t.Errorf("%d probes, want one that fails and one more", driver.probes)
	}
}
