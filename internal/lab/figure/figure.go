// Package figure makes the laboratory's figures of runs: pure functions of
// what was measured. What an experiment's charts are it says itself; how they
// look is package chart's.
package figure

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/unifaas/unifaas/internal/lab/chart"
	"github.com/unifaas/unifaas/internal/lab/draw"
	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// A Figure is one picture of a run.
type Figure struct {
	// Name is that of its files, without an extension.
	Name    string
	Picture *draw.Picture
	// Command makes the figure's samples again; "" where nobody can.
	Command string
}

// A Maker makes figures in which a sandbox looks the same everywhere.
type Maker struct{ looks map[string]int }

// NewMaker returns a maker for all sandboxes of some runs.
func NewMaker(runs ...*record.Run) *Maker {
	var names []string
	for _, r := range runs {
		for _, s := range r.Summaries {
			names = append(names, s.Sandbox)
		}
	}
	slices.Sort(names)
	m := &Maker{looks: map[string]int{}}
	for i, name := range slices.Compact(names) {
		m.looks[name] = i
	}
	return m
}

// look is a subject's: the sandbox has the colour and the form, all languages
// but Go are hollow.
func (m *Maker) look(k record.Key) chart.Look {
	l := chart.LookOf(m.looks[k.Sandbox])
	l.Hollow = k.Language != "" && k.Language != "go"
	return l
}

// Of returns the figures of one experiment in one run, without those that
// would show nothing.
func (m *Maker) Of(r *record.Run, e experiment.Experiment) []Figure {
	var all []Figure
	for _, c := range e.Charts {
		p := m.picture(r, e, c)
		if p == nil {
			continue
		}
		all = append(all, Figure{Name: name(e, c), Picture: p, Command: command(r, e.Name)})
	}
	return all
}

func name(e experiment.Experiment, c experiment.Chart) string {
	return strings.TrimSuffix(e.Name+"-"+c.Name, "-")
}

func command(r *record.Run, experiments string) string {
	if r.Command == "" {
		return ""
	}
	return r.Command + " --experiments " + experiments
}

// picture draws one chart; nil is one that would show nothing.
func (m *Maker) picture(r *record.Run, e experiment.Experiment, c experiment.Chart) *draw.Picture {
	series := r.Of(e.Name, c.Metric)
	if c.Form == experiment.Stack {
		series = beginning(r, e.Name, c.Metric)
	}
	if len(series) == 0 {
		return nil
	}
	frame := chart.Frame{Title: r.Name + ": " + c.Title, Subtitle: subtitle(c, series), Alarms: alarms(c, series)}
	switch c.Form {
	case experiment.Curve:
		if xs := values(series, c.Along); len(xs) > 1 {
			return plot(m.curves(c, series, frame, xs))
		}
		return plot(m.rows(c, series, frame))
	case experiment.Stack:
		return plot(m.stack(r, c, series, frame))
	case experiment.Failures:
		return plot(m.failures(c, series, frame))
	default:
		return plot(m.rows(c, series, frame))
	}
}

func plot(c interface {
	Draw() *draw.Picture
	Empty() bool
}) *draw.Picture {
	if c.Empty() {
		return nil
	}
	return c.Draw()
}

// beginning returns the series of an experiment whose metric begins so.
func beginning(r *record.Run, experiment, metric string) []record.Summary {
	return slices.DeleteFunc(slices.Clone(r.Summaries), func(s record.Summary) bool {
		return s.Experiment != experiment || !strings.HasPrefix(s.Metric, metric) || s.Metric == "failed starts"
	})
}

func subtitle(c experiment.Chart, series []record.Summary) string {
	known := slices.ContainsFunc(series, func(s record.Summary) bool { return len(s.Values) > 0 })
	many := slices.ContainsFunc(series, func(s record.Summary) bool { return s.N > 1 })
	switch {
	case c.Form == experiment.Curve && len(values(series, c.Along)) > 1 && many:
		return "Median and quartiles."
	case c.Form == experiment.Distribution && many && known:
		return "Each dot is a sample; box: quartiles; line across: median; line along: its 95 % confidence interval."
	case c.Form == experiment.Distribution && many:
		return "Box: quartiles; line across: median; line along: from the least to the most."
	case c.Form == experiment.Failures:
		return "Behind the count: what the rate may be, with 95 % confidence."
	}
	return ""
}

// alarms are warnings that hold for more than single series.
func alarms(c experiment.Chart, series []record.Summary) []string {
	if c.Form == experiment.Failures {
		return nil // the interval says how many are too few
	}
	noisy := 0
	for _, s := range series {
		if mark(s) == "noisy" {
			noisy++
		}
	}
	if 2*noisy > len(series) {
		return []string{fmt.Sprintf("The machine was noisy while most of this was measured (%d of %d series): measure again before believing it.", noisy, len(series))}
	}
	return nil
}

// mark is a series' warning in a word.
func mark(s record.Summary) string {
	var words []string
	for _, w := range s.Warnings {
		word, _, _ := strings.Cut(w, ":")
		words = append(words, word)
	}
	return strings.Join(slices.Compact(words), ", ")
}

// values returns the values of a parameter, ascending.
func values(series []record.Summary, parameter string) []float64 {
	var all []float64
	for _, s := range series {
		all = append(all, x(s.Key, parameter))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func x(k record.Key, parameter string) float64 {
	var v float64
	_, _ = fmt.Sscan(k.Parameter(parameter), &v) // 0 where there is none
	return v
}

// subject is a series' sandbox and language for people.
func subject(k record.Key) string {
	return strings.TrimSpace(cmp.Or(k.Sandbox, "platform") + " " + k.Language)
}

// group is what the rows of one heading have in common.
func group(k record.Key) string {
	language := map[string]string{"go": "Go", "node": "Node"}[k.Language]
	parameters := strings.ReplaceAll(strings.ReplaceAll(k.Parameters, ";", ", "), "=", " ")
	return strings.Trim(cmp.Or(language, k.Language)+", "+parameters, ", ")
}

// byGroup orders series by their groups, in those from the least to the most.
func byGroup(a, b record.Summary) int {
	return cmp.Or(
		strings.Compare(a.Language, b.Language),
		len(a.Parameters)-len(b.Parameters), strings.Compare(a.Parameters, b.Parameters),
		cmp.Compare(a.P50, b.P50), strings.Compare(a.Sandbox, b.Sandbox))
}
