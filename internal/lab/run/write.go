package run

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/experiment/all"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// ReportName is the file of a run's folder to begin with.
const ReportName = "report.md"

// Write writes a run's summaries into its folder: report.md for people,
// summary.csv, whose first columns are those in which the paper's figures are
// summarised, and summary.json.
func Write(dir string, r *record.Run) error {
	asJSON, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	asCSV, err := table(r.Summaries)
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{"summary.json": append(asJSON, '\n'), "summary.csv": asCSV, ReportName: page(r)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func table(summaries []record.Summary) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	rows := [][]string{strings.Split("experiment,sandbox,language,parameters,unit,n,min,p25,p50,p75,p95,max,metric,low,high,failures", ",")}
	for _, s := range summaries {
		row := []string{s.Experiment, s.Sandbox, s.Language, s.Parameters, s.Unit, strconv.Itoa(s.N)}
		for _, v := range []float64{s.Min, s.P25, s.P50, s.P75, s.P95, s.Max} {
			row = append(row, number(v))
		}
		rows = append(rows, append(row, s.Metric, number(s.Low), number(s.High), strconv.Itoa(s.Failures)))
	}
	err := w.WriteAll(rows)
	return b.Bytes(), err
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

// page is the report in Markdown: the machine, then a table for each
// experiment.
func page(r *record.Run) []byte {
	var b bytes.Buffer
	h := r.Host
	fmt.Fprintf(&b, "# %s\n\n%s, %d cores, %d MiB; %s, kernel %s, cgroup %s; %s; unifaas %s; begun %s.\n",
		r.Name, h.CPU, h.Cores, h.Memory>>20, h.System, h.Kernel, h.Cgroup, h.Accelerator, h.Platform, h.Began.Format("2006-01-02 15:04 MST"))
	fmt.Fprint(&b, "\nMedians with their 95 % confidence intervals (bootstrap), quartiles, and every failure.\n")
	for _, e := range all.Experiments() {
		section(&b, e, r.Summaries)
	}
	if len(r.Missing) > 0 {
		fmt.Fprint(&b, "\n## Not measured\n\n")
	}
	for _, m := range r.Missing {
		fmt.Fprintf(&b, "- %s\n", strings.Join(slices.DeleteFunc([]string{m.Experiment, m.Sandbox, m.Reason}, func(s string) bool { return s == "" }), ": "))
	}
	return b.Bytes()
}

func section(b *bytes.Buffer, e experiment.Experiment, summaries []record.Summary) {
	summaries = slices.DeleteFunc(slices.Clone(summaries), func(s record.Summary) bool { return s.Experiment != e.Name })
	if len(summaries) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n%s.\n\n| sandbox | language | what | unit | n | median | 95 %% interval | quartiles | failures | |\n|---|---|---|---|---|---|---|---|---|---|\n", e.Name, e.About)
	slices.SortStableFunc(summaries, order)
	for _, s := range summaries {
		if s.Metric == "failed starts" && s.Max == 0 {
			continue // it says something where it is something
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %d | %s | %s to %s | %s to %s | %s | %s |\n", s.Sandbox, s.Language,
			strings.TrimSpace(s.Parameters+" "+s.Metric), s.Unit, s.N, number4(s.P50), number4(s.Low), number4(s.High),
			number4(s.P25), number4(s.P75), failures(s), strings.Join(s.Warnings, "; "))
	}
}

// order puts what can be compared side by side: the sandboxes of one language
// and set of parameters, smaller parameters first.
func order(x, y record.Summary) int {
	return cmp.Or(
		strings.Compare(x.Metric, y.Metric), strings.Compare(x.Language, y.Language),
		len(x.Parameters)-len(y.Parameters), strings.Compare(x.Parameters, y.Parameters),
		strings.Compare(x.Sandbox, y.Sandbox))
}

func number4(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }

func failures(s record.Summary) string {
	if s.Failures == 0 {
		return ""
	}
	var parts []string
	for _, c := range record.Classes {
		if n := s.ByClass[c]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, c))
		}
	}
	return strings.Join(parts, ", ")
}
