package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
	"go.uber.org/goleak"

	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/test/bench/load"
	"github.com/unifaas/unifaas/test/bench/measure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-only", "warm, cold", "-quick"}, io.Discard)
	if err != nil || !slices.Equal(o.only, []string{"warm", "cold"}) || !o.quick || o.check {
		t.Errorf("%+v, %v", o, err)
	}
	o, err = parseOptions([]string{"-sandbox", "runc"}, io.Discard)
	if err != nil || !slices.Equal(o.sandboxes, []string{"runc"}) {
		t.Errorf("%+v, %v", o, err)
	}
	for _, args := range [][]string{{"-only", "wram"}, {"warm"}, {"-fast"}, {"-sandbox", "rnuc"}} {
		if _, err := parseOptions(args, io.Discard); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}

func TestInterleaveTurnsTheOrder(t *testing.T) {
	var order string
	fixed := func(name string, value float64) contender {
		return contender{name, func(context.Context, int) (float64, error) { order += name; return value, nil }}
	}
	r := interleave(t.Context(), 3, []contender{fixed("a", 1), fixed("b", 2), fixed("c", 3)})
	if err := r.err(); err != nil {
		t.Fatal(err)
	}
	if order != "abcbcacab" {
		t.Errorf("order was %s", order)
	}
	if !slices.Equal(r.samples["b"], measure.Sample{2, 2, 2}) {
		t.Errorf("samples are %v", r.samples)
	}
}

func TestInterleaveGoesOnWithoutWhoFails(t *testing.T) {
	broken := errors.New("broken")
	r := interleave(t.Context(), 3, []contender{
		{"a", func(_ context.Context, round int) (float64, error) {
			if round == 1 {
				return 0, broken
			}
			return 7, nil
		}},
		{"b", func(context.Context, int) (float64, error) { return 3, nil }},
	})
	if err := r.err(); !errors.Is(err, broken) || !strings.Contains(err.Error(), "round 2") {
		t.Errorf("error is %v", err)
	}
	if !slices.Equal(r.samples["a"], measure.Sample{7}) || !slices.Equal(r.samples["b"], measure.Sample{3, 3, 3}) {
		t.Errorf("samples are %v", r.samples)
	}
	row := r.compare("x", "ms", "a", rival{"b", measure.AtMost(9)})
	if !row.Missed() || row.Valid || !strings.Contains(row.Note, "broken") {
		t.Errorf("the row of a contender that failed is %+v", row)
	}
}

func TestContestantWhoIsAbsentIsNamed(t *testing.T) {
	fixed := func(context.Context, int) (float64, error) { return 3, nil }
	r := interleave(t.Context(), 2, []contender{{"a", fixed}})
	r.absent = map[string]error{"b": errors.New("not installed")}
	if row := r.compare("x", "ms", "a", rival{"b", measure.AtMost(9)}); !row.Missed() || row.Note != "b: not installed" {
		t.Errorf("row is %+v", row)
	}
	if err := r.err(); err != nil {
		t.Errorf("what is not there is no failure: %v", err)
	}
}

func TestContests(t *testing.T) {
	for _, c := range contests(nil) {
		if len(c.cold) == 0 || c.burst.peer != "" && (c.burst.bound == nil || c.rounds == 0) {
			t.Errorf("%s is compared with nobody: %+v", c.sandbox, c)
		}
	}
	if some := contests([]string{"runc"}); len(some) != 1 || some[0].sandbox != "runc" {
		t.Errorf("only runc: %+v", some)
	}
}

func TestVerdict(t *testing.T) {
	found := []control.Sandbox{{Name: "a", Works: true}, {Name: "b", Reason: "no such device", Remedy: "plug it in"}}
	for sandbox, want := range map[string]string{"a": "", "b": "sandbox b: no such device; plug it in", "c": "doctor knows no sandbox c"} {
		said := ""
		if err := verdict(found, sandbox); err != nil {
			said = err.Error()
		}
		if said != want {
			t.Errorf("%s: %q, not %q", sandbox, said, want)
		}
	}
}

func TestParseMaps(t *testing.T) {
	const text = "00400000-00600000 r-xp 00000000 fe:00 12 /function with a space\nRss: 9000 kB\nPrivate_Clean:      1024 kB\nPrivate_Dirty:      2048 kB\nPrivate_Hugetlb:       0 kB\nVmFlags: rd ex\n" +
		"c000000000-c000400000 rw-p 00000000 00:00 0 [anon: Go: heap]\nPrivate_Clean:      512 kB\nPrivate_Dirty:      1024 kB\nShared_Clean:  256 kB\nShared_Dirty:  256 kB\n"
	p, err := parseMaps(text)
	if diff := cmp.Diff(private{clean: 1.5, dirty: 3, cached: 1, shared: 0.5}, p, cmp.AllowUnexported(private{})); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"", "Private_Clean: 1 kB\n", "Private_Clean: much kB\nPrivate_Dirty: 1 kB\n", "\n"} {
		if _, err := parseMaps(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	own, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	if p, err := parseMaps(string(own)); err != nil || p.dirty <= 0 || p.cached > p.clean {
		t.Errorf("of this process: %+v, %v", p, err)
	}
}

// TestOneInstanceIsNotJudged: a program's file in the kernel's cache is no
// instance's own, but what is left out is told.
func TestOneInstanceIsNotJudged(t *testing.T) {
	rows := instanceRows("memory", private{clean: 5, dirty: 2.75, cached: 5, processes: 2}, []private{{dirty: 3, processes: 2}, {clean: 1, dirty: 3, processes: 2}})
	var got []string
	for _, r := range rows {
		got = append(got, fmt.Sprintf("%s: %v, judged: %v", r.Name, r.Ours, r.Target != nil))
	}
	want := []string{
		"memory: 4, judged: true",
		"memory, alone, without cached pages of files: 2.75, judged: false",
		"memory, alone, program text counted: 7.75, judged: false",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestParseStatus(t *testing.T) {
	f, err := parseStatus("Name:\tunifaas\nVmPeak:\t  9 kB\nVmRSS:\t   65536 kB\nRssAnon:\t   12800 kB\nThreads:\t9\n")
	if err != nil || f.rss != 64 || f.anon != 12.5 {
		t.Errorf("%+v, %v", f, err)
	}
	for _, bad := range []string{"", "VmRSS:\t1 kB\n", "VmRSS:\tmuch\nRssAnon:\t1 kB\n"} {
		if _, err := parseStatus(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	own, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	if f, err := parseStatus(string(own)); err != nil || f.rss < 1 || f.anon <= 0 || f.anon > f.rss {
		t.Errorf("of this process: %+v, %v", f, err)
	}
}

func TestFunctionsAreTOML(t *testing.T) {
	for _, f := range []function{
		coldFunction("gvisor"),
		{sandbox: "auto", port: 4711, concurrency: 64, instances: 1, cpus: 2},
	} {
		var read struct {
			Port      int  `toml:"port"`
			SingleUse bool `toml:"single-use"`
			Min       int  `toml:"min-instances"`
			Env       map[string]string
		}
		if err := toml.Unmarshal([]byte(f.toml(`/a "b"/c`)), &read); err != nil {
			t.Fatalf("%v in\n%s", err, f.toml("/a"))
		}
		if read.Port != f.port || read.SingleUse != f.singleUse || read.Min != f.instances || (f.port != functionPort) != (read.Env["PORT"] == "4711") {
			t.Errorf("%+v became %+v", f, read)
		}
	}
}

func TestSoakRow(t *testing.T) {
	series := func(rise float64) measure.Sample {
		s := make(measure.Sample, 300)
		for i := range s {
			s[i] = 40 + float64(i%7)/10 // a collector's saw
			if i >= 150 {
				s[i] += rise * float64(i-150) / 150
			}
		}
		return s
	}
	good := load.Result{Due: 5000 * 300, Answered: 5000 * 300, Elapsed: 300 * time.Second}
	slow := load.Result{Due: 5000 * 300, Answered: 3000 * 300, Elapsed: 300 * time.Second}
	failing := good
	failing.Answered, failing.Failed = good.Answered-1, 1
	for _, c := range []struct {
		name   string
		rise   float64
		result load.Result
		rate   int
		missed bool
	}{
		{"flat", 0, good, 5000, false},
		{"a leak", 8, good, 5000, true},
		{"flat, but not at the rate", 0, slow, 5000, true},
		{"flat, at less than the machine can do", 0, slow, 3000, true},
		{"flat, but a request failed", 0, failing, 5000, true},
	} {
		if row := soakRow("soak", series(c.rise), c.result, c.rate, 5000); row.Missed() != c.missed {
			t.Errorf("%s: missed is %v: %+v", c.name, row.Missed(), row)
		}
	}
}

func TestFilesAreWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "bench.json")
	facts := newHost(t.Context(), &bench{unifaas: "/nonexistent"})
	facts.finish()
	if err := write(path, []measure.Row{measure.Limit("a", "MiB", measure.Sample{1}, 2)}, facts); err != nil {
		t.Fatal(err)
	}
	var rows []measure.Row
	var host map[string]any
	for name, into := range map[string]any{path: &rows, strings.TrimSuffix(path, ".json") + "-host.json": &host} {
		text, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(rows) != 1 || rows[0].Name != "a" {
		t.Errorf("rows are %+v", rows)
	}
	if host["cores"] == 0.0 || host["kernel"] == "" || host["cgroup"] == "" {
		t.Errorf("host is %v", host)
	}
}
