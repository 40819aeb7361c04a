package compare_test

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/internal/lab/compare"
	"github.com/unifaas/unifaas/internal/lab/paper"
	"github.com/unifaas/unifaas/internal/lab/record"
	"github.com/unifaas/unifaas/internal/lab/stat"
)

// series is ten samples from a value on, a hundredth apart.
func series(experiment, unit string, from float64, failures int) []record.Sample {
	var all []record.Sample
	k := record.Key{Experiment: experiment, Sandbox: "gvisor", Language: "go", Unit: unit}
	for i := range 10 {
		all = append(all, record.Sample{Key: k, Value: from * (1 + float64(i)/100)})
	}
	for range failures {
		all = append(all, record.Sample{Key: k, Failure: &record.Failure{Class: record.Timeout}})
	}
	return all
}

func run(name string, series ...[]record.Sample) *record.Run {
	r := &record.Run{Name: name}
	for _, s := range series {
		r.Summaries = append(r.Summaries, stat.Summarize(s, stat.Options{})...)
	}
	return r
}

func TestVerdicts(t *testing.T) {
	a := run("a", series("slower", "ms", 100, 0), series("quicker", "ms", 100, 0), series("same", "ms", 100, 0),
		series("more", "requests/s", 100, 0), series("fewer", "requests/s", 100, 0), series("failing", "ms", 100, 0),
		series("a bit", "ms", 100, 0), series("gone", "ms", 1, 0))
	b := run("b", series("slower", "ms", 200, 0), series("quicker", "ms", 50, 0), series("same", "ms", 100.1, 0),
		series("more", "requests/s", 200, 0), series("fewer", "requests/s", 50, 0), series("failing", "ms", 100, 2),
		series("a bit", "ms", 106, 0), series("new", "ms", 1, 0))
	r := compare.Runs(a, b)
	got := map[string]compare.Verdict{}
	for _, row := range r.Rows {
		got[row.Experiment] = row.Verdict
		if row.Ratio < row.Low || row.Ratio > row.High {
			t.Errorf("%s: the ratio %v is not from %v to %v", row.Experiment, row.Ratio, row.Low, row.High)
		}
	}
	want := map[string]compare.Verdict{
		"slower": compare.Worse, "quicker": compare.Better, "same": compare.Same, "more": compare.Better,
		"fewer": compare.Worse, "failing": compare.Same, "a bit": compare.Worse,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
	var regressions []string
	for _, row := range r.Regressions(1.1) {
		regressions = append(regressions, row.Experiment)
	}
	if diff := cmp.Diff([]string{"slower", "fewer", "failing"}, regressions); diff != "" {
		t.Errorf("regressions (-want +got):\n%s", diff)
	}
	if len(r.OnlyA) != 1 || r.OnlyA[0].Experiment != "gone" || len(r.OnlyB) != 1 || r.OnlyB[0].Experiment != "new" {
		t.Errorf("only in one: %v, %v", r.OnlyA, r.OnlyB)
	}
	var text strings.Builder
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"slower", "2.00", "0 and 2 failures", "worse", "better"} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("no %q in:\n%s", line, text.String())
		}
	}
}

// TestPaper: of the paper only summaries are known, so that no verdict is given.
func TestPaper(t *testing.T) {
	p, err := paper.Run()
	if err != nil {
		t.Fatal(err)
	}
	r := compare.Runs(p, p)
	if len(r.Rows) != len(p.Summaries) || len(r.OnlyA)+len(r.OnlyB)+len(r.Warnings) > 0 {
		t.Fatalf("%d rows, %v, %v, %v", len(r.Rows), r.OnlyA, r.OnlyB, r.Warnings)
	}
	for _, row := range r.Rows {
		if row.Ratio != 1 || row.Verdict != compare.Unknown {
			t.Errorf("got %+v", row)
		}
	}
	if len(r.Regressions(1.1)) != 0 {
		t.Errorf("regressions: %v", r.Regressions(1.1))
	}
	other := run("mine")
	other.Host.Cores = 4
	if w := compare.Runs(p, other).Warnings; len(w) != 2 {
		t.Errorf("another machine: got warnings %q", w)
	}
}

// TestRelative: a machine that is twice as fast as the paper's in everything is
// no better relative to a common sandbox.
func TestRelative(t *testing.T) {
	published, err := paper.Run()
	if err != nil {
		t.Fatal(err)
	}
	fast := &record.Run{Name: "fast", Host: record.Host{CPU: "another"}}
	for _, s := range published.Of("cold-start", "") {
		s.P50 /= 2
		if s.Sandbox == "nanos" {
			s.P50 *= 3
		}
		fast.Summaries = append(fast.Summaries, s)
	}
	r := compare.Runs(published, fast)
	if r.Common != "docker-runc" || len(r.Rows) != 10 {
		t.Fatalf("%d rows, relative to %q", len(r.Rows), r.Common)
	}
	for _, row := range r.Rows {
		want := 1.0
		if row.Sandbox == "nanos" {
			want = 3
		}
		if math.Abs(row.Relative-want) > 1e-9 {
			t.Errorf("%s %s: relative %v, want %v", row.Sandbox, row.Language, row.Relative, want)
		}
	}
	if same := compare.Runs(published, published); same.Common != "" || same.Rows[0].Relative != 0 {
		t.Errorf("the same machine, and ratios are relative to %q", same.Common)
	}
}
