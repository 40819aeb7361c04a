// Package report writes what a run has measured for its readers: pages for
// people, tables for programs, and each figure as a file of its own. Nothing in
// it measures or decides: it is a function of runs.
package report

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/unifaas/unifaas/internal/lab/claim"
	"github.com/unifaas/unifaas/internal/lab/draw"
	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/figure"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// Names in a run's folder.
const (
	PageName    = "report.html" // the file to begin with
	textName    = "report.md"
	tableName   = "summary.csv"
	summaryName = "summary.json"
	figuresName = "figures"
)

// pixels are those of a PNG for each unit of a figure: enough for print.
const pixels = 2

// A Report is a run, ready to be written.
type Report struct {
	Run *record.Run
	// Beside is the run that it is put beside: what the paper has published; nil
	// is none.
	Beside   *record.Run
	Claims   []claim.Judgement
	TradeOff []figure.Figure // one at most for each run
	Sections []Section
}

// A Section is one experiment.
type Section struct {
	Name, About string
	Figures     []figure.Figure
	Beside      []figure.Figure // the other run's, and ratios
	Series      []record.Summary
}

// New makes a report. Experiments are in the order in which they are reported;
// those that the run has nothing of are left out.
func New(r, beside *record.Run, experiments []experiment.Experiment) *Report {
	report := &Report{Run: r, Beside: beside, Claims: claim.Judge(r)}
	runs := []*record.Run{r}
	if beside != nil {
		runs = append(runs, beside)
	}
	maker := figure.NewMaker(runs...)
	for i, one := range runs {
		if f, ok := maker.TradeOff(one); ok {
			if i > 0 {
				f.Name += "-" + one.Name
			}
			report.TradeOff = append(report.TradeOff, f)
		}
	}
	for _, e := range experiments {
		s := Section{Name: e.Name, About: e.About, Figures: maker.Of(r, e), Series: series(r, e.Name)}
		if len(s.Series) == 0 {
			continue
		}
		if beside != nil {
			s.Beside = maker.Beside(r, beside, e)
		}
		report.Sections = append(report.Sections, s)
	}
	return report
}

// series returns an experiment's series so that what can be compared is side
// by side: the sandboxes of one language and set of parameters, smaller
// parameters first.
func series(r *record.Run, experiment string) []record.Summary {
	var all []record.Summary
	for _, s := range r.Summaries {
		// Failed starts say something where there are some.
		if s.Experiment == experiment && (s.Metric != "failed starts" || s.Max > 0) {
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(x, y record.Summary) int {
		return cmp.Or(
			strings.Compare(x.Metric, y.Metric), strings.Compare(x.Language, y.Language),
			len(x.Parameters)-len(y.Parameters), strings.Compare(x.Parameters, y.Parameters),
			strings.Compare(x.Sandbox, y.Sandbox))
	})
	return all
}

// Figures returns all figures.
func (r *Report) Figures() []figure.Figure {
	all := slices.Clone(r.TradeOff)
	for _, s := range r.Sections {
		all = append(append(all, s.Figures...), s.Beside...)
	}
	return all
}

// Write writes the report into a folder, made if need be. What is there of an
// earlier one is replaced.
func (r *Report) Write(dir string) error {
	figures := filepath.Join(dir, figuresName)
	if err := errors.Join(os.RemoveAll(figures), os.MkdirAll(figures, 0o755)); err != nil {
		return err
	}
	var drawing errgroup.Group // nothing is measured any more
	drawing.SetLimit(runtime.GOMAXPROCS(0))
	for _, f := range r.Figures() {
		drawing.Go(func() error { return writeFigure(filepath.Join(figures, f.Name), f.Picture) })
	}
	if err := drawing.Wait(); err != nil {
		return err
	}
	asJSON, err := json.MarshalIndent(struct {
		*record.Run
		Claims []claim.Judgement `json:"claims"`
	}{r.Run, r.Claims}, "", "  ")
	if err != nil {
		return err
	}
	asCSV, err := table(r.Run.Summaries)
	if err != nil {
		return err
	}
	page, err := r.html()
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		summaryName: append(asJSON, '\n'), tableName: asCSV, textName: r.markdown(), PageName: page,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func writeFigure(path string, p *draw.Picture) error {
	var picture bytes.Buffer
	if err := p.PNG(&picture, pixels); err != nil {
		return fmt.Errorf("draw %q: %w", path, err)
	}
	return errors.Join(os.WriteFile(path+".svg", p.SVG(), 0o644), os.WriteFile(path+".png", picture.Bytes(), 0o644))
}

// table is all summaries; its first columns are those of the paper's.
func table(summaries []record.Summary) ([]byte, error) {
	var b bytes.Buffer
	rows := [][]string{strings.Split("experiment,sandbox,language,parameters,unit,n,min,p25,p50,p75,p95,max,metric,low,high,failures", ",")}
	for _, s := range summaries {
		row := []string{s.Experiment, s.Sandbox, s.Language, s.Parameters, s.Unit, strconv.Itoa(s.N)}
		for _, v := range []float64{s.Min, s.P25, s.P50, s.P75, s.P95, s.Max} {
			row = append(row, number(v, 6))
		}
		rows = append(rows, append(row, s.Metric, number(s.Low, 6), number(s.High, 6), strconv.Itoa(s.Failures)))
	}
	err := csv.NewWriter(&b).WriteAll(rows)
	return b.Bytes(), err
}

func number(v float64, digits int) string { return strconv.FormatFloat(v, 'g', digits, 64) }

// failures counts them by class.
func failures(s record.Summary) string {
	var parts []string
	for _, c := range record.Classes {
		if n := s.ByClass[c]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, c))
		}
	}
	return strings.Join(parts, ", ")
}

// what tells a series apart from the others of its subject.
func what(s record.Summary) string { return strings.TrimSpace(s.Parameters + " " + s.Metric) }

// missing is a line about what was not measured.
func missing(m record.Missing) string {
	return strings.Join(slices.DeleteFunc([]string{m.Experiment, m.Sandbox, m.Reason}, func(s string) bool { return s == "" }), ": ")
}

// machine describes a host in a sentence; "" is one of which nothing is known.
func machine(h record.Host) string {
	if h.CPU == "" {
		return ""
	}
	measured := ""
	if h.Target != "" {
		measured = "the platform at " + h.Target + ", of which nothing else is known, asked from: "
	}
	return measured + fmt.Sprintf("%s, %d cores, %d MiB; %s, kernel %s, cgroup %s; accelerator %s; governor %s; load average before %.2f; unifaas %s; begun %s",
		h.CPU, h.Cores, h.Memory>>20, h.System, h.Kernel, h.Cgroup, h.Accelerator, cmp.Or(h.Governor, "not known"), h.LoadBefore, h.Platform, h.Began.Format("2006-01-02 15:04 MST"))
}
