package chart

import (
	"cmp"
	"slices"

	"github.com/unifaas/unifaas/internal/lab/draw"
)

// A Place is a point between two axes, with an interval where Low and High are
// not both 0.
type Place struct {
	X, Y      float64
	Low, High float64 // of Y
	Title     string
}

// A Curve is a series of places, connected in their order.
type Curve struct {
	Label  string
	Look   Look
	Places []Place
	// Broken says that the series ends because something failed: the last place
	// is crossed out, with this text.
	Broken string
}

// A Plane has curves, or single points, between two axes.
type Plane struct {
	Frame
	X, Y   Axis
	Curves []Curve
	// Named has each curve's label beside its last place, instead of a legend.
	Named bool
	// At are the values of x that are named; nil is round ones.
	At []float64
}

const planeHeight = 340.0

// Draw lays the chart out.
func (p Plane) Draw() *draw.Picture {
	s := begin(p.Frame)
	var xs, ys []float64
	for _, c := range p.Curves {
		for _, at := range c.Places {
			xs, ys = append(xs, at.X), append(ys, at.Y)
			if at.High != 0 {
				ys = append(ys, at.Low, at.High)
			}
		}
	}
	s.y += 6
	bottom := s.y + planeHeight
	right := width - margin - 24
	if p.Named {
		right -= 90
	}
	x, y := p.X.scale(xs, margin+74, right), p.Y.scale(ys, bottom, s.y)
	s.axes(p, x, y)
	for _, c := range p.Curves {
		s.band(c, x, y)
	}
	for _, c := range p.Curves {
		s.curve(c, x, y)
	}
	if p.Named {
		s.names(p.Curves, x, y)
	}
	s.y = bottom + 40
	return s.end(p.Frame)
}

func (s *sheet) axes(p Plane, x, y scale) {
	for _, v := range y.ticks(7) {
		at := y.at(v)
		s.Line(draw.Point{X: x.from, Y: at}, draw.Point{X: x.to, Y: at}, draw.Style{Stroke: draw.Grid})
		s.text(x.from-8, at+4, Number(v), small, draw.Muted, draw.End, false)
	}
	ticks := p.At
	if ticks == nil {
		ticks = x.ticks(9)
	}
	for _, v := range ticks {
		at := x.at(v)
		s.Line(draw.Point{X: at, Y: y.from}, draw.Point{X: at, Y: y.to}, draw.Style{Stroke: draw.Grid})
		s.text(at, y.from+15, Number(v), small, draw.Muted, draw.Middle, false)
	}
	s.Line(draw.Point{X: x.from, Y: y.from}, draw.Point{X: x.to, Y: y.from}, draw.Style{Stroke: draw.Muted})
	s.Line(draw.Point{X: x.from, Y: y.from}, draw.Point{X: x.from, Y: y.to}, draw.Style{Stroke: draw.Muted})
	s.text((x.from+x.to)/2, y.from+33, p.X.name(), small, draw.Ink, draw.Middle, false)
	s.Add(draw.Text{At: draw.Point{X: margin + small, Y: (y.from + y.to) / 2}, Text: p.Y.name(), Size: small, Role: draw.Ink, Anchor: draw.Middle, Up: true})
}

// band is the area of a curve's intervals.
func (s *sheet) band(c Curve, x, y scale) {
	var above, below []draw.Point
	for _, at := range c.Places {
		if at.High == 0 {
			return
		}
		above = append(above, draw.Point{X: x.at(at.X), Y: y.at(at.High)})
		below = append([]draw.Point{{X: x.at(at.X), Y: y.at(at.Low)}}, below...)
	}
	if len(above) == 1 {
		s.Line(above[0], below[0], draw.Style{Stroke: c.Look.role(), Width: 2})
		return
	}
	s.Add(draw.Path{Points: append(above, below...), Closed: true, Style: draw.Style{Fill: c.Look.role(), Opacity: 0.13}})
}

func (s *sheet) curve(c Curve, x, y scale) {
	if len(c.Places) == 0 {
		return
	}
	var points []draw.Point
	for _, at := range c.Places {
		points = append(points, draw.Point{X: x.at(at.X), Y: y.at(at.Y)})
	}
	if len(points) > 1 {
		s.Add(draw.Path{Points: points, Style: c.Look.line(), About: draw.About{Mark: c.Label, Title: c.Label}})
	}
	for i, at := range c.Places {
		s.Add(c.Look.mark(points[i], markSize, draw.About{Mark: c.Label, Title: c.Label + ": " + at.Title}))
	}
	last := points[len(points)-1]
	if c.Broken != "" {
		for _, d := range []float64{-1, 1} {
			s.Line(draw.Point{X: last.X - 7, Y: last.Y - 7*d}, draw.Point{X: last.X + 7, Y: last.Y + 7*d}, draw.Style{Stroke: draw.Alarm, Width: 2})
		}
		s.text(last.X+10, last.Y-8, c.Broken, small, draw.Alarm, draw.Start, false)
	}
}

// names puts labels beside the curves' last places, none over another.
func (s *sheet) names(curves []Curve, x, y scale) {
	type label struct {
		text     string
		from, to float64
		y        float64
	}
	var all []label
	for _, c := range curves {
		if len(c.Places) == 0 {
			continue
		}
		last := c.Places[len(c.Places)-1]
		from := x.at(last.X) + 9
		all = append(all, label{c.Label, from, from + draw.Width(c.Label, textSize, false), y.at(last.Y) + 4})
	}
	slices.SortFunc(all, func(a, b label) int { return cmp.Compare(a.y, b.y) })
	for i := range all {
		for _, above := range all[:i] {
			if above.from < all[i].to && all[i].from < above.to {
				all[i].y = max(all[i].y, above.y+textSize+1)
			}
		}
		s.text(all[i].from, all[i].y, all[i].text, textSize, draw.Ink, draw.Start, false)
	}
}

// Empty reports whether the chart shows no value.
func (p Plane) Empty() bool {
	for _, c := range p.Curves {
		if len(c.Places) > 0 {
			return false
		}
	}
	return true
}
