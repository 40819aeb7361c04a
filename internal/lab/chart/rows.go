package chart

import (
	"slices"
	"strings"

	"github.com/unifaas/unifaas/internal/lab/draw"
)

// A Box is a distribution.
type Box struct {
	Min, P25, P50, P75, Max float64
	// Low and High are the median's confidence interval; both are P50 where it
	// is not known.
	Low, High float64
}

// A Segment is a part of a bar.
type Segment struct {
	Value float64
	Look  Look
	Title string
}

// A Spot is a single value, with an interval where Low and High are not 0.
type Spot struct {
	Value, Low, High float64
	Look             Look
	Title            string
}

// A Row is one line of a [Rows].
type Row struct {
	// Group is a heading, drawn above the first of the rows that have it.
	Group string
	Label string
	Look  Look
	Dots  []float64 // single samples
	Box   *Box
	Bar   []Segment
	Spots []Spot
	Note  string // at the right
	Alarm string // behind the note
}

// mark names the row among all of its chart.
func (r Row) mark() string { return strings.TrimSpace(r.Group + " " + r.Label) }

// Rows has categories below each other and values to the right.
type Rows struct {
	Frame
	Axis Axis
	Rows []Row
}

const (
	rowHeight  = 24.0
	headHeight = 26.0
	noteWidth  = 190.0
)

// Draw lays the chart out.
func (r Rows) Draw() *draw.Picture {
	s := begin(r.Frame)
	left := margin
	for _, row := range r.Rows {
		left = max(left, margin+draw.Width(row.Label, textSize, false)+12)
	}
	to := r.Axis.scale(r.values(), left, width-margin-noteWidth)
	top, height, group := s.y, 0.0, ""
	for _, row := range r.Rows {
		if row.Group != group {
			group, height = row.Group, height+headHeight
		}
		height += rowHeight
	}
	s.grid(to, r.Axis, top, top+height)
	group = ""
	for _, row := range r.Rows {
		if row.Group != group {
			group = row.Group
			s.y += headHeight
			s.text(margin, s.y-8, group, textSize, draw.Ink, draw.Start, true)
		}
		s.row(row, r.Axis, to)
		s.y += rowHeight
	}
	s.y += 40
	return s.end(r.Frame)
}

func (r Rows) values() []float64 {
	var all []float64
	for _, row := range r.Rows {
		all = append(all, row.Dots...)
		if b := row.Box; b != nil {
			all = append(all, b.Min, b.P25, b.P50, b.P75, b.Max)
		}
		end := 0.0
		for _, b := range row.Bar {
			end += b.Value
			all = append(all, end)
		}
		for _, p := range row.Spots {
			all = append(all, p.Value)
			if p.High != 0 {
				all = append(all, p.Low, p.High)
			}
		}
	}
	return all
}

// grid draws lines at round values, named below.
func (s *sheet) grid(to scale, a Axis, top, bottom float64) {
	last := -1e9
	for _, v := range to.ticks(8) {
		x := to.at(v)
		s.Line(draw.Point{X: x, Y: top}, draw.Point{X: x, Y: bottom}, draw.Style{Stroke: draw.Grid})
		name := Number(v)
		if half := draw.Width(name, small, false)/2 + 4; x-half > last {
			s.text(x, bottom+15, name, small, draw.Muted, draw.Middle, false)
			last = x + half
		}
	}
	s.Line(draw.Point{X: to.from, Y: bottom}, draw.Point{X: to.to, Y: bottom}, draw.Style{Stroke: draw.Muted})
	s.text((to.from+to.to)/2, bottom+32, a.name(), small, draw.Ink, draw.Middle, false)
}

func (a Axis) name() string {
	name := a.Label
	if a.Unit != "" {
		name += " [" + a.Unit + "]"
	}
	if a.Log {
		name += ", logarithmic"
	}
	return name
}

func (s *sheet) row(row Row, a Axis, to scale) {
	middle := s.y + rowHeight/2
	s.text(to.from-8, middle+4, row.Label, textSize, draw.Ink, draw.End, false)
	s.bar(row, a, to, middle)
	if row.Box != nil {
		s.box(row, a, to, middle)
	}
	for i, v := range row.Dots {
		// Spread over the row in an order that shows no pattern.
		y := middle + (float64((i*7)%11)-5)*1.5
		s.Add(draw.Disc{At: draw.Point{X: to.at(v), Y: y}, Radius: 1.8, Style: draw.Style{Fill: row.Look.role(), Opacity: 0.65},
			About: draw.About{Mark: row.mark(), Title: row.Label + ": " + Value(v, a.Unit)}})
	}
	if b := row.Box; b != nil {
		s.Line(draw.Point{X: to.at(b.P50), Y: middle - 9}, draw.Point{X: to.at(b.P50), Y: middle + 9}, draw.Style{Stroke: draw.Ink, Width: 2})
	}
	for _, p := range row.Spots {
		if p.High != 0 {
			s.Line(draw.Point{X: to.at(p.Low), Y: middle}, draw.Point{X: to.at(p.High), Y: middle}, draw.Style{Stroke: p.Look.role(), Width: 2})
		}
		size := markSize
		if p.Look.Hollow {
			size += 2 // another inside it stays in sight
		}
		s.Add(p.Look.mark(draw.Point{X: to.at(p.Value), Y: middle}, size, draw.About{Mark: row.mark(), Title: p.Title}))
	}
	x := to.to + 10
	s.text(x, middle+4, row.Note, small, draw.Ink, draw.Start, false)
	s.text(x+draw.Width(row.Note+" ", small, false), middle+4, row.Alarm, small, draw.Alarm, draw.Start, false)
}

// bar draws segments one after the other.
func (s *sheet) bar(row Row, a Axis, to scale, middle float64) {
	begin := 0.0
	for _, b := range row.Bar {
		x, end := to.at(begin), to.at(begin+b.Value)
		begin += b.Value
		title := b.Title
		if title == "" {
			title = row.Label
		}
		// What is there is seen, however little it is.
		s.Add(draw.Path{Points: draw.Rect(x, middle-8, max(end-x, 1), 16), Closed: true, Style: area(b.Look),
			About: draw.About{Mark: row.mark(), Title: title + ": " + Value(b.Value, a.Unit)}})
	}
}

// box draws the range as a line, quartiles as an area, the median's interval as
// a thick line.
func (s *sheet) box(row Row, a Axis, to scale, middle float64) {
	b := row.Box
	about := draw.About{Mark: row.mark(), Title: row.Label + ": median " + Value(b.P50, a.Unit) + ", quartiles " + Value(b.P25, a.Unit) +
		" and " + Value(b.P75, a.Unit) + ", from " + Value(b.Min, a.Unit) + " to " + Value(b.Max, a.Unit)}
	role := row.Look.role()
	s.Line(draw.Point{X: to.at(b.Min), Y: middle}, draw.Point{X: to.at(b.Max), Y: middle}, draw.Style{Stroke: role})
	s.Add(draw.Path{Points: draw.Rect(to.at(b.P25), middle-8, max(to.at(b.P75)-to.at(b.P25), 1), 16), Closed: true,
		Style: draw.Style{Fill: role, Stroke: role, Opacity: 0.35}, About: about})
	if b.Low != b.High {
		s.Line(draw.Point{X: to.at(b.Low), Y: middle}, draw.Point{X: to.at(b.High), Y: middle}, draw.Style{Stroke: draw.Ink, Width: 2.5})
	}
}

// Empty reports whether the chart shows no value.
func (r Rows) Empty() bool {
	return !slices.ContainsFunc(r.Rows, func(row Row) bool {
		return len(row.Dots)+len(row.Bar)+len(row.Spots) > 0 || row.Box != nil
	})
}
