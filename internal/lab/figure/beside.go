package figure

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/unifaas/unifaas/internal/lab/chart"
	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/paper"
	"github.com/unifaas/unifaas/internal/lab/record"
	"github.com/unifaas/unifaas/internal/lab/stat"
)

// Beside returns what another run has of an experiment, drawn as [Maker.Of]
// does, and, where both have a sandbox in common, one figure for each chart of
// both runs' ratios to it: machines differ, orders and ratios carry over.
func (m *Maker) Beside(r, other *record.Run, e experiment.Experiment) []Figure {
	all := m.Of(other, e)
	for i := range all {
		all[i].Name += "-" + other.Name
	}
	for _, c := range e.Charts {
		if c.Form == experiment.Stack || c.Form == experiment.Failures {
			continue
		}
		if p, common := m.ratios(r, other, e, c); common != "" && !p.Empty() {
			all = append(all, Figure{Name: name(e, c) + "-ratio", Picture: p.Draw(), Command: command(r, e.Name)})
		}
	}
	return all
}

// A pair is one series in both runs; either may be missing.
type pair struct {
	key          record.Key
	here, theirs *record.Summary
}

// ratios draws both runs' medians in ratios to those of a common sandbox.
func (m *Maker) ratios(r, other *record.Run, e experiment.Experiment, c experiment.Chart) (p chart.Rows, common string) {
	here, theirs := r.Of(e.Name, c.Metric), other.Of(e.Name, c.Metric)
	pairs := match(here, theirs)
	if common = commonSandbox(pairs); common == "" {
		return p, ""
	}
	bases := map[string]pair{}
	for _, q := range pairs {
		if q.key.Sandbox == common && q.here != nil && q.theirs != nil && q.here.P50 > 0 && q.theirs.P50 > 0 {
			bases[group(q.key)] = q
		}
	}
	p = chart.Rows{Axis: chart.Axis{Label: "times " + common, Log: true}}
	p.Title = c.Title + ": ratios to " + common
	p.Subtitle = "Filled: this run, with the ratio's 95 % confidence interval. Hollow: " + other.Name + ", of which only medians are known. Only order and ratios carry over between machines."
	for _, q := range pairs {
		base, ok := bases[group(q.key)]
		if !ok {
			continue
		}
		row := chart.Row{Group: group(q.key), Label: cmp.Or(q.key.Sandbox, "platform")}
		look := chart.LookOf(m.looks[q.key.Sandbox])
		var notes []string
		if q.theirs != nil && q.theirs.N > 0 {
			v := q.theirs.P50 / base.theirs.P50
			row.Spots = append(row.Spots, chart.Spot{
				Value: v, Look: chart.Look{Colour: look.Colour, Form: look.Form, Hollow: true},
				Title: fmt.Sprintf("%s, %s: %s times", subject(q.key), other.Name, chart.Number(v)),
			})
			notes = append(notes, other.Name+" "+chart.Number(v))
		}
		if q.here != nil && q.here.N > 0 {
			spot := ours(q, base)
			spot.Look = look
			row.Spots, notes = append(row.Spots, spot), append([]string{chart.Number(spot.Value)}, notes...)
		}
		row.Note = strings.Join(notes, "; ")
		p.Rows = append(p.Rows, row)
	}
	slices.SortStableFunc(p.Rows, func(a, b chart.Row) int {
		if a.Group != b.Group || len(a.Spots) == 0 || len(b.Spots) == 0 {
			return 0
		}
		return cmp.Compare(a.Spots[len(a.Spots)-1].Value, b.Spots[len(b.Spots)-1].Value)
	})
	return p, common
}

// ours is this run's ratio, with its interval where there is one.
func ours(q, base pair) chart.Spot {
	s := chart.Spot{Value: q.here.P50 / base.here.P50}
	if q.key.Sandbox != base.key.Sandbox && q.here.N > 1 && base.here.N > 1 && len(q.here.Values) > 0 && q.here.Min > 0 && base.here.Min > 0 {
		s.Low, s.High = stat.RatioInterval(base.here.Values, q.here.Values)
	}
	s.Title = fmt.Sprintf("%s, this run: %s times", subject(q.key), chart.Number(s.Value))
	return s
}

// match finds what two runs have of the same. Where each has but one set of
// parameters these are taken for the same: a run that is quick does less of
// it. Of a curve only those remain that both have.
func match(here, theirs []record.Summary) []pair {
	one := len(parameters(here)) == 1 && len(parameters(theirs)) == 1
	found := map[record.Key]*pair{}
	var order []record.Key
	add := func(s *record.Summary, set func(*pair)) {
		k := s.Key
		if one {
			k.Parameters = ""
		}
		if found[k] == nil {
			found[k], order = &pair{key: k}, append(order, k)
		}
		set(found[k])
	}
	for i := range here {
		add(&here[i], func(p *pair) { p.here = &here[i] })
	}
	for i := range theirs {
		add(&theirs[i], func(p *pair) { p.theirs = &theirs[i] })
	}
	both := map[string]int{}
	for k, p := range found {
		if p.here != nil {
			both[k.Parameters] |= 1
		}
		if p.theirs != nil {
			both[k.Parameters] |= 2
		}
	}
	var pairs []pair
	for _, k := range order {
		if both[k.Parameters] == 3 {
			pairs = append(pairs, *found[k])
		}
	}
	pairs = ends(pairs)
	slices.SortStableFunc(pairs, func(a, b pair) int {
		return cmp.Or(strings.Compare(a.key.Language, b.key.Language),
			len(a.key.Parameters)-len(b.key.Parameters), strings.Compare(a.key.Parameters, b.key.Parameters),
			strings.Compare(a.key.Sandbox, b.key.Sandbox))
	})
	return pairs
}

func parameters(series []record.Summary) []string {
	var all []string
	for _, s := range series {
		if !slices.Contains(all, s.Parameters) {
			all = append(all, s.Parameters)
		}
	}
	return all
}

// most is how many sets of parameters a chart of ratios has room for.
const most = 3

// ends leaves the first, the middle and the last of many parameters.
func ends(pairs []pair) []pair {
	var sets []string
	for _, p := range pairs {
		if !slices.Contains(sets, p.key.Parameters) {
			sets = append(sets, p.key.Parameters)
		}
	}
	if len(sets) <= most {
		return pairs
	}
	slices.SortFunc(sets, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
	kept := []string{sets[0], sets[len(sets)/2], sets[len(sets)-1]}
	return slices.DeleteFunc(pairs, func(p pair) bool { return !slices.Contains(kept, p.key.Parameters) })
}

// commonSandbox returns one that both runs have.
func commonSandbox(pairs []pair) string {
	var names []string
	for _, p := range pairs {
		if p.here != nil && p.theirs != nil && p.here.P50 > 0 && p.theirs.P50 > 0 && p.key.Sandbox != "" {
			names = append(names, p.key.Sandbox)
		}
	}
	switch {
	case len(names) == 0:
		return ""
	case slices.Contains(names, paper.Common):
		return paper.Common
	}
	return slices.Min(names)
}
