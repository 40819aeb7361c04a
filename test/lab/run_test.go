//go:build !race

// With the race detector a start of this program takes seconds, which is what
// would be measured.

package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/experiment/all"
	"github.com/unifaas/unifaas/internal/lab/measure"
	"github.com/unifaas/unifaas/internal/lab/platform"
	"github.com/unifaas/unifaas/internal/lab/record"
	"github.com/unifaas/unifaas/internal/lab/report"
	"github.com/unifaas/unifaas/internal/lab/run"
)

// options are those of a run of the synthetic sandbox, and the folder in which
// its driver keeps account.
func options(t *testing.T) (run.Options, string) {
	t.Helper()
	dir := t.TempDir()
	holder := filepath.Join(dir, "holder")
	build := exec.Command("go", "build", "-o", holder, "./testdata/holder")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the holder: %v\n%s", err, out)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(holder) // any program: the synthetic sandbox does not execute it
	if err != nil {
		t.Fatal(err)
	}
	return run.Options{
		Output: filepath.Join(dir, "run"), Exe: exe, Scale: experiment.Quick, Languages: []string{"go"},
		Env:     []string{platformEnv + "=" + dir, holderEnv + "=" + holder},
		Program: program,
	}, dir
}

func take(t *testing.T, o run.Options) *record.Run {
	t.Helper()
	r, err := run.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func find(t *testing.T, r *record.Run, k record.Key) record.Summary {
	t.Helper()
	k.Sandbox, k.Language = "auto", "go"
	s, ok := r.Find(k)
	if !ok {
		t.Fatalf("there is no %+v; missing: %+v", k, r.Missing)
	}
	return s
}

// A known figure is one of the synthetic sandbox.
type known struct {
	key record.Key
	// want is the figure on a machine on which a request of a given time takes that
	// and late.
	want func(late time.Duration) float64
	// whole says that the whole machine has a part in it.
	whole     bool
	tolerance float64 // 0 is within
}

const (
	// within is how near a measurement has to come, as a share; twice that
	// where the machine has other work, which every start waits for.
	within = 0.05
	// busyLoad is the load average from which on it has.
	busyLoad = 1
)

func everythingKnown() []known {
	key := func(experiment, parameters string) record.Key {
		return record.Key{Experiment: experiment, Parameters: parameters}
	}
	metric := func(k record.Key, metric string) record.Key {
		k.Metric = metric
		return k
	}
	takes := func(d time.Duration) func(time.Duration) float64 {
		return func(late time.Duration) float64 { return experiment.Milliseconds(d + late) }
	}
	perSecond := func(connections float64) func(time.Duration) float64 {
		return func(late time.Duration) float64 { return connections / (helloTakes + late).Seconds() }
	}
	constant := func(v float64) func(time.Duration) float64 { return func(time.Duration) float64 { return v } }
	// Starts go on side by side, one for each processor, in the test's own
	// process and so with its share of them.
	burst := func(late time.Duration) float64 {
		queued := func(k int) float64 {
			return experiment.Milliseconds(startTakes+late) * float64(k/runtime.GOMAXPROCS(0)+1)
		}
		return (queued(4) + queued(5)) / 2
	}
	return []known{
		{key: key("cold-start", ""), want: takes(startTakes)},
		{key: key("stability", "kind=cold-starts"), want: takes(startTakes)},
		{key: metric(key("phases", ""), "started"), want: takes(startTakes)},
		{key: key("cpu-fib", "attempt=first"), want: takes(workTakes)},
		{key: key("cpu-fib", "attempt=second"), want: takes(workTakes)},
		{key: key("cpu-fft", "attempt=second"), want: takes(workTakes)},
		{key: key("cpu-matrix", "attempt=first"), want: takes(workTakes)},
		{key: key("alloc", "attempt=second"), want: takes(workTakes)},
		{key: key("read", "attempt=first"), want: takes(workTakes)},
		{key: key("unzip", ""), want: takes(workTakes)},
		// What the platform itself does for three starts in a row is in it.
		{key: key("burst", "instances=10"), want: burst, tolerance: 0.08},
		{key: key("warm", "kind=faas"), want: takes(helloTakes)},
		{key: metric(key("warm", "kind=faas"), "open loop"), want: takes(helloTakes)},
		{key: key("stability", "kind=soak"), want: takes(helloTakes)},
		{key: key("network-requests", "connections=1"), want: perSecond(1)},
		{key: key("network-requests", "connections=16"), want: perSecond(16)},
		{key: key("network-throughput", "requests=8;connections=4;file=50MiB"), want: constant(2 * staticTakes.Seconds())},
		{key: metric(key("idle-cpu", ""), "cpu"), want: constant(burns)},
		{key: metric(key("idle-memory", "instances=5"), "pss holder"), want: constant(holds / (1 << 20))},
		{key: metric(key("idle-memory", "instances=5"), "pss"), want: constant(holds / (1 << 20)), whole: true},
		// The platform's own growth is in it.
		{key: key("idle-memory", "instances=5"), want: constant(5 * holds / (1 << 20)), whole: true, tolerance: 0.1},
	}
}

// lateness is how much longer than its time a request takes here now that a plain
// server answers after that, the middle of several: a processor that is shared with
// others wakes everybody late, and the load does not tell.
func lateness(t *testing.T) time.Duration {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { sleep(helloTakes) }))
	defer server.Close()
	var all []time.Duration
	for range 25 {
		began := time.Now()
		resp, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		all = append(all, time.Since(began)-helloTakes)
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// TestWhatIsKnown measures a sandbox of which everything is known. What is off
// is measured again, twice at most: other work on the machine adds to a time
// and passes, a fault of the laboratory stays.
func TestWhatIsKnown(t *testing.T) {
	left := everythingKnown()
	var experiments []string // none is all
	for tries := 3; ; tries-- {
		o, dir := options(t)
		o.Experiments = experiments
		r := take(t, o)
		if made := wantFailures(t, r, dir); made == 0 && experiments == nil {
			t.Error("no start failed")
		}
		var wrong []string
		if left, wrong = off(t, r, left); len(left) == 0 {
			return
		}
		experiments = nil
		for _, k := range left {
			if !slices.Contains(experiments, k.key.Experiment) {
				experiments = append(experiments, k.key.Experiment)
			}
		}
		if tries == 1 {
			t.Fatal(strings.Join(wrong, "\n"))
		}
		t.Logf("measured again: %s", strings.Join(wrong, "; "))
	}
}

// off returns those figures that r has otherwise than they are known, and what
// there is to say of them.
func off(t *testing.T, r *record.Run, figures []known) (left []known, wrong []string) {
	t.Helper()
	load, err := measure.LoadAverage()
	busy, late := err == nil && load >= busyLoad, lateness(t)
	for _, k := range figures {
		want := k.want(late)
		s, tolerance := find(t, r, k.key), cmp.Or(k.tolerance, within)
		if busy {
			tolerance *= 2
		}
		if s.N > 0 && math.Abs(s.P50/want-1) <= tolerance || k.whole && busy {
			continue
		}
		left = append(left, k)
		wrong = append(wrong, fmt.Sprintf("%+v: measured %.3f of %d samples, known to be %.3f (load %.1f, requests take %v longer)", k.key, s.P50, s.N, want, load, late))
	}
	return left, wrong
}

// wantFailures compares the failures that were counted with those that the
// driver was scripted to make, and returns how many these are.
func wantFailures(t *testing.T, r *record.Run, dir string) (made int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "failures"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	made = strings.Count(string(text), "-single")
	counted := 0.0
	for _, s := range r.Summaries {
		if s.Metric == "failed starts" {
			for _, v := range s.Values {
				counted += v
			}
		}
	}
	if int(counted) != made {
		t.Errorf("%v failed starts were counted, %d were made", counted, made)
	}
	return made
}

// TestTarget measures a platform that runs already, by its address alone.
func TestTarget(t *testing.T) {
	o, dir := options(t)
	functions := o
	functions.Output = filepath.Join(dir, "written")
	names, err := run.Functions(t.Context(), functions)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"auto-go-single", "auto-go-warm"}; !gocmp.Equal(want, names) {
		t.Fatalf("functions: got %q, want %q", names, want)
	}
	p, err := platform.Start(t.Context(), platform.Options{Exe: o.Exe, Dir: dir, Env: o.Env})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}()
	tomls := map[string]string{}
	for _, name := range names {
		toml, err := os.ReadFile(filepath.Join(functions.Output, name, "function.toml"))
		if err != nil {
			t.Fatal(err)
		}
		tomls[name] = string(toml)
	}
	if err := p.Serve(t.Context(), tomls); err != nil {
		t.Fatal(err)
	}

	o.Target, o.Sandboxes = "http://"+p.Gateway+"/", []string{"auto", "osv"}
	r := take(t, o)
	ms := experiment.Milliseconds
	for experiment, want := range map[string]float64{"cold-start": ms(startTakes), "warm": ms(helloTakes)} {
		parameters := map[string]string{"warm": "kind=faas"}[experiment]
		if s := find(t, r, record.Key{Experiment: experiment, Parameters: parameters}); math.Abs(s.P50/want-1) > 0.1 {
			t.Errorf("%s: measured %.3f, known to be %.3f", experiment, s.P50, want)
		}
	}
	var missing []string
	for _, m := range r.Missing {
		missing = append(missing, strings.TrimSpace(m.Experiment+" "+m.Sandbox))
	}
	if want := []string{"idle-memory", "idle-cpu", "phases", "image-size", "cpu-fib", "cpu-fft", "cpu-matrix", "alloc", "read", "unzip", "boot-read", "osv"}; !gocmp.Equal(want, missing) {
		t.Errorf("missing: got %q, want %q", missing, want)
	}
}

// TestResumed interrupts a run at every step in turn; none of its samples is
// taken again or lost.
func TestResumed(t *testing.T) {
	o, _ := options(t)
	o.Experiments = []string{"cold-start", "image-size"}
	before := []record.Sample{}
	for rounds := 0; ; rounds++ {
		ctx, cancel := context.WithCancel(t.Context())
		steps := 0
		o.Progress = func(run.Progress) {
			if steps++; steps == 4 {
				cancel()
			}
		}
		_, err := run.Run(ctx, o)
		interrupted := ctx.Err() != nil
		cancel()
		if err != nil && !interrupted {
			t.Fatal(err)
		}
		after, err := record.Load(o.Output)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(before, after[:len(before)], cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("round %d: samples of an earlier one (-want +got):\n%s", rounds, diff)
		}
		if !interrupted {
			if len(after) != 15 || rounds < 2 {
				t.Errorf("%d samples after %d rounds, want 15", len(after), rounds)
			}
			return
		}
		if before = after; rounds > 20 {
			t.Fatal("it never ends")
		}
	}
}

func TestOtherSettings(t *testing.T) {
	o, _ := options(t)
	o.Experiments = []string{"image-size"}
	first := take(t, o)
	o.Experiments = []string{"cold-start"}
	if _, err := run.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "other settings") {
		t.Errorf("with other experiments: got %v", err)
	}
	if err := report.New(first, nil, all.Experiments()).Write(o.Output); err != nil {
		t.Fatal(err)
	}
	loaded, err := run.Load(o.Output)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(first, loaded); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{"report.md": "## image-size", "summary.csv": "image-size,auto,go,file=rootfs,bytes,1,", "summary.json": `"not in this build"`} {
		text, err := os.ReadFile(filepath.Join(o.Output, name))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v, want %q in:\n%s", name, err, want, text)
		}
	}
}

func TestWhatCantBeRun(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*run.Options)
		want string
	}{
		"an unknown experiment": {func(o *run.Options) { o.Experiments = []string{"cold-stat"} }, "cold-start"},
		"an unknown language":   {func(o *run.Options) { o.Languages = []string{"cobol"} }, "node"},
		"no sandbox":            {func(o *run.Options) { o.Sandboxes = []string{"osv"} }, "nothing to measure"},
		"no folder":             {func(o *run.Options) { o.Output = "" }, "--output"},
		"a folder that is none": {func(o *run.Options) { o.Output = "/dev/null/run" }, "folder"},
	} {
		o, _ := options(t)
		c.edit(&o)
		if _, err := run.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, c.want)
		}
	}
}

// TestSandboxThatFails: one whose starts all fail, and one whose starts fail
// from the second on, do not hold up the third.
func TestSandboxThatFails(t *testing.T) {
	o, _ := options(t)
	o.Env = append(o.Env, failingEnv+"=1")
	o.Experiments = []string{"cold-start", "cpu-fib"}
	r := take(t, o)
	if s := find(t, r, record.Key{Experiment: "cpu-fib", Parameters: "attempt=first"}); s.N != 7 || s.Failures != 0 {
		t.Errorf("of the one that works: %d samples, %d failures", s.N, s.Failures)
	}
	dying, ok := r.Find(record.Key{Experiment: "cold-start", Sandbox: "dying", Language: "go"})
	if !ok || dying.N != 0 || dying.ByClass[record.FailedStart] != 3 {
		t.Errorf("of the one that dies: %+v, %v", dying, ok)
	}
	var told []string
	for _, m := range r.Missing {
		if strings.Contains(m.Reason, "scripted to fail always") {
			told = append(told, strings.TrimSpace(m.Experiment+" "+m.Sandbox))
		}
	}
	if want := []string{"failing", "cold-start dying", "cpu-fib dying"}; !gocmp.Equal(want, told) {
		t.Errorf("told of %q, want %q; all: %+v", told, want, r.Missing)
	}
	o, _ = options(t)
	o.Env = append(o.Env, failingEnv+"=1")
	o.Sandboxes = []string{"failing"}
	if _, err := run.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "scripted to fail always") {
		t.Errorf("with nothing else: got %v", err)
	}
}

// TestDiskFull fills the disk while a run goes on; when there is room again the
// run goes on.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	o, _ := options(t)
	o.Experiments = []string{"cold-start", "burst"}
	o.Output = t.TempDir()
	if err := unix.Mount("small", o.Output, "tmpfs", 0, "size=512m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(o.Output, unix.MNT_DETACH) })
	filler := filepath.Join(o.Output, "filler")
	steps := 0
	o.Progress = func(run.Progress) {
		if steps++; steps == 3 {
			fill(t, filler)
		}
	}
	_, err := run.Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Fatalf("got %v", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	before, err := record.Load(o.Output)
	if err != nil || len(before) == 0 {
		t.Fatalf("%d samples, %v", len(before), err)
	}
	o.Progress = nil
	if s := find(t, take(t, o), record.Key{Experiment: "burst", Parameters: "instances=10"}); s.N+s.Failures != 10 {
		t.Errorf("%d samples in the end", s.N)
	}
	after, err := record.Load(o.Output)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(before, after[:len(before)]); diff != "" {
		t.Errorf("samples from before (-want +got):\n%s", diff)
	}
}

func fill(t *testing.T, path string) {
	f, err := os.Create(path)
	if err != nil {
		t.Error(err)
		return
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
