// Package compare puts two runs beside each other: for each series that both
// have, the ratio of the medians, and whether they differ.
package compare

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/unifaas/unifaas/internal/lab/paper"
	"github.com/unifaas/unifaas/internal/lab/record"
	"github.com/unifaas/unifaas/internal/lab/stat"
)

// A Verdict says how a series is in the second run.
type Verdict string

// The verdicts.
const (
	Same    Verdict = "same" // no difference can be told
	Better  Verdict = "better"
	Worse   Verdict = "worse"
	Unknown Verdict = "unknown" // too few samples, or only their summary is known
)

// A Row is one series in both runs.
type Row struct {
	record.Key
	A       float64 `json:"a"` // medians
	B       float64 `json:"b"`
	Ratio   float64 `json:"ratio"` // of B to A; 0 where A alone is 0
	Low     float64 `json:"low"`   // 95 % confidence interval of the ratio
	High    float64 `json:"high"`
	Verdict Verdict `json:"verdict"`
	// Relative is the ratio divided by that of the sandbox [Result].Common in
	// the same experiment: what is left of a difference when the machines' own
	// is taken out. 0 where it is not known.
	Relative float64 `json:"relative,omitempty"`
	// FailuresA and FailuresB are counts of failures.
	FailuresA int `json:"failures_a"`
	FailuresB int `json:"failures_b"`
}

// A Result is what came of a comparison.
type Result struct {
	A    string `json:"run_a"` // names
	B    string `json:"run_b"`
	Rows []Row  `json:"rows"`
	// Common is the sandbox that both have and ratios are relative to, where the
	// machines differ; "" is none.
	Common   string       `json:"common,omitempty"`
	OnlyA    []record.Key `json:"only_a,omitempty"`
	OnlyB    []record.Key `json:"only_b,omitempty"`
	Warnings []string     `json:"warnings,omitempty"`
}

// Runs compares b with a.
func Runs(a, b *record.Run) *Result {
	r := &Result{A: a.Name, B: b.Name, Warnings: differences(a.Host, b.Host)}
	for _, s := range a.Summaries {
		other, ok := b.Find(s.Key)
		switch {
		case !ok:
			r.OnlyA = append(r.OnlyA, s.Key)
		case other.Unit == s.Unit:
			r.Rows = append(r.Rows, row(s, other))
		}
	}
	for _, s := range b.Summaries {
		if _, ok := a.Find(s.Key); !ok {
			r.OnlyB = append(r.OnlyB, s.Key)
		}
	}
	if len(r.Warnings) > 0 {
		r.relate()
	}
	return r
}

// relate relates ratios to those of a sandbox that both runs have.
func (r *Result) relate() {
	bases := map[record.Key]float64{}
	for _, row := range r.Rows {
		if row.Ratio > 0 && row.Sandbox != "" && (r.Common == "" || row.Sandbox == paper.Common) {
			r.Common = row.Sandbox
		}
	}
	series := func(k record.Key) record.Key {
		k.Sandbox = ""
		return k
	}
	for _, row := range r.Rows {
		if row.Sandbox == r.Common {
			bases[series(row.Key)] = row.Ratio
		}
	}
	for i, row := range r.Rows {
		if base := bases[series(row.Key)]; base > 0 {
			r.Rows[i].Relative = row.Ratio / base
		}
	}
}

// moreIsBetter are the units of what one wants much of.
var moreIsBetter = []string{"requests/s"}

func row(a, b record.Summary) Row {
	r := Row{Key: a.Key, A: a.P50, B: b.P50, Verdict: Unknown, FailuresA: a.Failures, FailuresB: b.Failures}
	switch {
	case a.P50 == b.P50:
		r.Ratio = 1
	case a.P50 != 0:
		r.Ratio = b.P50 / a.P50
	}
	r.Low, r.High = r.Ratio, r.Ratio
	if len(a.Values) == 0 || len(b.Values) == 0 {
		return r
	}
	if a.Min > 0 {
		r.Low, r.High = stat.RatioInterval(a.Values, b.Values)
	}
	good := stat.Less
	if slices.Contains(moreIsBetter, a.Unit) {
		good = stat.More
	}
	switch stat.Compare(a.Values, b.Values) {
	case stat.Same:
		r.Verdict = Same
	case good:
		r.Verdict = Better
	case stat.Unknown:
	default:
		r.Verdict = Worse
	}
	return r
}

// differences warns of what makes two runs' times incomparable.
func differences(a, b record.Host) []string {
	if a.CPU != b.CPU && (a.CPU == "" || b.CPU == "") {
		return []string{"the machines differ: one of them is not known"}
	}
	var all []string
	for _, f := range []struct{ what, a, b string }{
		{"processors", fmt.Sprintf("%d x %s", a.Cores, a.CPU), fmt.Sprintf("%d x %s", b.Cores, b.CPU)},
		{"kernels", a.Kernel, b.Kernel}, {"control groups", a.Cgroup, b.Cgroup}, {"accelerators", a.Accelerator, b.Accelerator},
	} {
		if f.a != f.b {
			all = append(all, fmt.Sprintf("other %s: %q and %q", f.what, f.a, f.b))
		}
	}
	return all
}

// Regressions returns the rows that are worse by more than a factor, 1.1 for a
// tenth, and those with failures where there were none.
func (r *Result) Regressions(factor float64) []Row {
	var all []Row
	for _, row := range r.Rows {
		beyond := row.Ratio == 0 || max(row.Ratio, 1/row.Ratio) > factor
		if row.Verdict == Worse && beyond || row.FailuresB > 0 && row.FailuresA == 0 {
			all = append(all, row)
		}
	}
	return all
}

// Write writes the comparison as a table for people.
func (r *Result) Write(w io.Writer) error {
	for _, text := range r.Warnings {
		fmt.Fprintln(w, "note:", text)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	relative := ""
	if r.Common != "" {
		relative = "to " + r.Common + "'s"
	}
	fmt.Fprintf(t, "experiment\tsandbox\tlanguage\twhat\tunit\t%s\t%s\tratio\t95 %%\t%s\t\n", r.A, r.B, relative)
	for _, row := range r.Rows {
		interval := ""
		if row.Low != row.High {
			interval = fmt.Sprintf("%.2f..%.2f", row.Low, row.High)
		}
		verdict := string(row.Verdict)
		if row.FailuresA+row.FailuresB > 0 {
			verdict += fmt.Sprintf("; %d and %d failures", row.FailuresA, row.FailuresB)
		}
		relative := ""
		if row.Relative > 0 {
			relative = fmt.Sprintf("%.2f", row.Relative)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%.4g\t%.4g\t%.2f\t%s\t%s\t%s\n", row.Experiment, row.Sandbox, row.Language,
			strings.TrimSpace(row.Parameters+" "+row.Metric), row.Unit, row.A, row.B, row.Ratio, interval, relative, verdict)
	}
	return t.Flush()
}
