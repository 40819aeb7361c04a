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
	"github.com/unifaas/unifaas/internal/lab/stat"
)

// rows draws a row for each series.
func (m *Maker) rows(c experiment.Chart, series []record.Summary, f chart.Frame) chart.Rows {
	r := chart.Rows{Frame: f, Axis: chart.Axis{Label: c.Axis, Unit: series[0].Unit, Log: c.Log && c.Form != experiment.Amounts}}
	for _, s := range slices.SortedStableFunc(slices.Values(series), byGroup) {
		row := chart.Row{Group: group(s.Key), Label: cmp.Or(s.Sandbox, "platform"), Look: m.look(s.Key), Note: note(s), Alarm: alarm(s)}
		title := fmt.Sprintf("%s: %s", subject(s.Key), chart.Value(s.P50, s.Unit))
		switch {
		case s.N == 0:
		case c.Form == experiment.Amounts:
			row.Bar = []chart.Segment{{Value: s.P50, Look: row.Look, Title: subject(s.Key)}}
		case s.N == 1:
			row.Spots = []chart.Spot{{Value: s.P50, Look: row.Look, Title: title}}
		default:
			row.Dots = s.Values
			row.Box = &chart.Box{Min: s.Min, P25: s.P25, P50: s.P50, P75: s.P75, Max: s.Max, Low: s.Low, High: s.High}
		}
		r.Rows = append(r.Rows, row)
	}
	return r
}

// note is what stands beside a row: median, its interval, how many.
func note(s record.Summary) string {
	switch {
	case s.N == 0:
		return ""
	case s.N == 1:
		return chart.Value(s.P50, s.Unit)
	case s.Low == s.High:
		return fmt.Sprintf("%s  n=%d", chart.Value(s.P50, s.Unit), s.N)
	}
	return fmt.Sprintf("%s (%s to %s)  n=%d", chart.Value(s.P50, s.Unit), chart.Number(s.Low), chart.Number(s.High), s.N)
}

func alarm(s record.Summary) string {
	words := mark(s)
	if s.Failures > 0 {
		words = strings.TrimSuffix(fmt.Sprintf("%d failed, %s", s.Failures, words), ", ")
	}
	return words
}

// curves draws medians along a parameter.
func (m *Maker) curves(c experiment.Chart, series []record.Summary, f chart.Frame, xs []float64) chart.Plane {
	p := chart.Plane{Frame: f, X: chart.Axis{Label: c.Along, Log: xs[0] > 0 && xs[len(xs)-1]/xs[0] > 30}, Y: chart.Axis{Label: c.Axis, Unit: series[0].Unit, Log: c.Log}}
	if len(xs) <= 13 {
		p.At = xs
	}
	bySubject := map[string]*chart.Curve{}
	var order []string
	for _, s := range slices.SortedStableFunc(slices.Values(series), func(a, b record.Summary) int {
		return cmp.Or(strings.Compare(a.Language, b.Language), strings.Compare(a.Sandbox, b.Sandbox), cmp.Compare(x(a.Key, c.Along), x(b.Key, c.Along)))
	}) {
		name := subject(s.Key)
		curve := bySubject[name]
		if curve == nil {
			curve = &chart.Curve{Label: name, Look: m.look(s.Key)}
			bySubject[name], order = curve, append(order, name)
		}
		if s.N == 0 {
			curve.Broken = fmt.Sprintf("failed at %g", x(s.Key, c.Along))
			continue
		}
		place := chart.Place{X: x(s.Key, c.Along), Y: s.P50, Title: fmt.Sprintf("%s at %g, n=%d %s", chart.Value(s.P50, s.Unit), x(s.Key, c.Along), s.N, alarm(s))}
		if s.N > 1 {
			place.Low, place.High = s.P25, s.P75
		}
		curve.Places = append(curve.Places, place)
	}
	for _, name := range order {
		p.Curves = append(p.Curves, *bySubject[name])
		p.Legend = append(p.Legend, chart.Entry{Label: name, Look: bySubject[name].Look, Key: chart.CurveKey})
	}
	return p
}

// stack draws a bar for each subject, of those parameters that come last: the
// most instances.
func (m *Maker) stack(r *record.Run, c experiment.Chart, series []record.Summary, f chart.Frame) chart.Rows {
	chosen := slices.MaxFunc(series, func(a, b record.Summary) int {
		return cmp.Or(len(a.Parameters)-len(b.Parameters), strings.Compare(a.Parameters, b.Parameters))
	}).Parameters
	rows := map[string]*chart.Row{}
	total := map[string]float64{}
	var keys []record.Key
	looks := map[string]chart.Look{}
	for _, s := range series {
		if s.Parameters != chosen || s.N == 0 {
			continue
		}
		name := subject(s.Key)
		row := rows[name]
		if row == nil {
			row = &chart.Row{Group: group(s.Key), Label: cmp.Or(s.Sandbox, "platform")}
			rows[name], keys = row, append(keys, s.Key)
			if b, ok := r.Find(beside(s.Key, c.Beside)); ok && c.Beside != "" {
				row.Spots = []chart.Spot{{Value: b.P50, Look: chart.Look{Colour: neutral, Form: 3, Hollow: true}, Title: name + ", " + c.Beside + ": " + chart.Value(b.P50, b.Unit)}}
			}
		}
		part := strings.TrimPrefix(s.Metric, c.Metric)
		look, ok := looks[part]
		if !ok {
			look = chart.LookOf(len(looks))
			look.Hollow = len(looks) >= draw.SeriesRoles // an area has no form
			looks[part] = look
			f.Legend = append(f.Legend, chart.Entry{Label: part, Look: look, Key: chart.AreaKey})
		}
		row.Bar = append(row.Bar, chart.Segment{Value: max(s.P50, 0), Look: look, Title: name + ", " + part})
		total[name] += s.P50
	}
	slices.SortStableFunc(keys, func(a, b record.Key) int {
		return cmp.Or(strings.Compare(a.Language, b.Language), cmp.Compare(total[subject(a)], total[subject(b)]))
	})
	chartRows := chart.Rows{Frame: f, Axis: chart.Axis{Label: c.Axis, Unit: series[0].Unit}}
	for _, k := range keys {
		row := rows[subject(k)]
		row.Note = chart.Value(total[subject(k)], k.Unit)
		if len(row.Spots) > 0 {
			row.Note += "; mark " + chart.Value(row.Spots[0].Value, k.Unit)
		}
		chartRows.Rows = append(chartRows.Rows, *row)
	}
	return chartRows
}

// neutral is the colour of marks that are of no sandbox.
const neutral = draw.SeriesRoles - 1

func beside(k record.Key, metric string) record.Key {
	k.Metric = metric
	return k
}

// failures draws how many of a thousand failed.
func (m *Maker) failures(c experiment.Chart, series []record.Summary, f chart.Frame) chart.Rows {
	r := chart.Rows{Frame: f, Axis: chart.Axis{Label: c.Axis}}
	for i, class := range record.Classes {
		f := chart.Entry{Label: string(class), Look: chart.LookOf(i), Key: chart.AreaKey}
		if slices.ContainsFunc(series, func(s record.Summary) bool { return s.ByClass[class] > 0 }) {
			r.Legend = append(r.Legend, f)
		}
	}
	slices.SortStableFunc(series, func(a, b record.Summary) int {
		return cmp.Or(strings.Compare(a.Language, b.Language), strings.Compare(a.Parameters, b.Parameters), strings.Compare(a.Sandbox, b.Sandbox))
	})
	for _, s := range series {
		n := s.N + s.Failures
		low, high := stat.RateInterval(s.Failures, n)
		row := chart.Row{
			Group: group(s.Key), Label: s.Sandbox,
			Note: fmt.Sprintf("%d of %d  (%s to %s)", s.Failures, n, chart.Number(1000*low), chart.Number(1000*high)),
		}
		for i, class := range record.Classes {
			if k := s.ByClass[class]; k > 0 {
				row.Bar = append(row.Bar, chart.Segment{Value: 1000 * float64(k) / float64(n), Look: chart.LookOf(i), Title: subject(s.Key) + ", " + string(class)})
			}
		}
		if s.Failures == 0 {
			row.Bar = []chart.Segment{{Look: chart.Look{Colour: neutral}, Title: subject(s.Key) + ", failures"}}
		}
		r.Rows = append(r.Rows, row)
	}
	return r
}
