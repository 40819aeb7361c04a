// Package chart lays out the laboratory's figures: rows of distributions or
// bars, curves, and points between two axes. It is given what is to be shown
// and returns pictures; it knows nothing of runs and experiments.
//
// A series has a colour and a form of its marks, so that a reader who sees no
// colours tells them apart; a value can be read from text beside its row, or
// by pointing at its mark.
package chart

import (
	"strings"

	"github.com/unifaas/unifaas/internal/lab/draw"
)

// A Frame is around each chart.
type Frame struct {
	Title    string
	Subtitle string
	Legend   []Entry
	// Notes are below the chart, Alarms below them: what a reader must know
	// before believing it.
	Notes  []string
	Alarms []string
}

// A Look tells series apart.
type Look struct {
	Colour, Form int
	Hollow       bool // outlines only
}

// LookOf returns the look of series i: with each round of colours the forms
// shift by one, so that the pair is another.
func LookOf(i int) Look { return Look{Colour: i, Form: i + i/draw.SeriesRoles} }

// A Key is how an entry of a legend shows a look.
type Key int

// The keys.
const (
	MarkKey  Key = iota // a mark
	AreaKey             // an area in the colour
	CurveKey            // a mark on a line
)

// An Entry is one of a legend.
type Entry struct {
	Label string
	Look  Look
	Key   Key
}

const (
	width    = 880.0
	margin   = 16.0
	textSize = 12.0
	small    = 11.0
	large    = 15.0
	markSize = 4.0
)

func (l Look) role() draw.Role { return draw.Series(l.Colour) }

// mark is a mark of the series at a point.
func (l Look) mark(at draw.Point, size float64, about draw.About) draw.Shape {
	style := draw.Style{Fill: l.role(), Stroke: draw.Ground, Width: 0.75}
	if l.Hollow {
		style = draw.Style{Fill: draw.Ground, Stroke: l.role(), Width: 1.75}
	}
	return draw.Mark(l.Form, at, size, style, about)
}

func (l Look) line() draw.Style {
	return draw.Style{Stroke: l.role(), Width: 2, Dash: l.Hollow}
}

// A sheet is a picture with its frame, on which a chart is drawn from above to
// below.
type sheet struct {
	draw.Picture
	y float64 // what is above is used
}

// begin draws what is above the chart.
func begin(f Frame) *sheet {
	s := &sheet{Picture: draw.Picture{Width: width, Title: f.Title}, y: margin}
	s.y += large
	s.text(margin, s.y, f.Title, large, draw.Ink, draw.Start, true)
	for _, line := range wrap(f.Subtitle, width-2*margin) {
		s.y += textSize + 5
		s.text(margin, s.y, line, textSize, draw.Muted, draw.Start, false)
	}
	s.legend(f.Legend)
	s.y += 10
	return s
}

func (s *sheet) text(x, y float64, text string, size float64, role draw.Role, anchor string, bold bool) {
	s.Add(draw.Text{At: draw.Point{X: x, Y: y}, Text: text, Size: size, Role: role, Anchor: anchor, Bold: bold})
}

// legend places entries beside each other, on as many lines as it takes.
func (s *sheet) legend(entries []Entry) {
	if len(entries) == 0 {
		return
	}
	s.y += 22
	x := margin
	for _, e := range entries {
		need := 24 + draw.Width(e.Label, textSize, false) + 18
		if x+need > width-margin && x > margin {
			x = margin
			s.y += 19
		}
		at := draw.Point{X: x + 9, Y: s.y - 4}
		switch e.Key {
		case AreaKey:
			s.Add(draw.Path{Points: draw.Rect(at.X-7, at.Y-5.5, 14, 11), Closed: true, Style: area(e.Look)})
		case CurveKey:
			s.Line(draw.Point{X: at.X - 9, Y: at.Y}, draw.Point{X: at.X + 9, Y: at.Y}, e.Look.line())
			fallthrough
		default:
			s.Add(e.Look.mark(at, markSize, draw.About{}))
		}
		s.text(x+24, s.y, e.Label, textSize, draw.Ink, draw.Start, false)
		x += need
	}
}

func area(l Look) draw.Style {
	if l.Hollow {
		return draw.Style{Stroke: l.role(), Width: 1.5}
	}
	return draw.Style{Fill: l.role()}
}

// end draws what is below the chart and returns the picture.
func (s *sheet) end(f Frame) *draw.Picture {
	for _, group := range []struct {
		role  draw.Role
		lines []string
	}{{draw.Muted, f.Notes}, {draw.Alarm, f.Alarms}} {
		for _, note := range group.lines {
			for _, line := range wrap(note, width-2*margin) {
				s.y += small + 5
				s.text(margin, s.y, line, small, group.role, draw.Start, false)
			}
		}
	}
	s.Height = s.y + margin
	return &s.Picture
}

// wrap breaks a text into lines.
func wrap(text string, most float64) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		next := strings.TrimSpace(line + " " + word)
		if line != "" && draw.Width(next, textSize, false) > most {
			lines, next = append(lines, line), word
		}
		line = next
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
