package draw

import (
	"bytes"
	"fmt"
	"html"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// SVG returns the picture as a file of its own: colours follow the reader's
// light or dark mode.
func (p *Picture) SVG() []byte {
	return p.svg("<style>" + Stylesheet("") + "</style>\n")
}

// Inline returns the picture as an element of an HTML page that has
// [Stylesheet].
func (p *Picture) Inline() []byte { return p.svg("") }

// Stylesheet returns the CSS of pictures on dark ground. On light ground they
// need none. In a page whose root element has the attribute named, its value
// "dark" or "light" goes before what the reader's system says; "" is none.
func Stylesheet(attribute string) string {
	var rules strings.Builder
	write := func(within string) {
		for _, r := range slices.Sorted(maps.Keys(roles)) {
			fmt.Fprintf(&rules, "%[1]s.f-%[2]s{fill:%[3]s}%[1]s.k-%[2]s{stroke:%[3]s}", within, r, hex(roles[r].dark))
		}
	}
	rules.WriteString("@media (prefers-color-scheme:dark){")
	if attribute == "" {
		write("")
		rules.WriteString("}")
		return rules.String()
	}
	write(":root:not([" + attribute + "=light]) ")
	rules.WriteString("}")
	write(":root[" + attribute + "=dark] ")
	return rules.String()
}

func hex(rgb uint32) string { return fmt.Sprintf("#%06x", rgb) }

func (p *Picture) svg(head string) []byte {
	var b bytes.Buffer
	b.WriteString("<svg" + attribute("xmlns", "http://www.w3.org/2000/svg") +
		attribute("viewBox", "0 0 "+number(p.Width)+" "+number(p.Height)) + attribute("width", number(p.Width)) + attribute("height", number(p.Height)) +
		attribute("role", "img") + attribute("font-family", "Go,system-ui,'Helvetica Neue',Arial,sans-serif") + ">\n")
	fmt.Fprintf(&b, "<title>%s</title>\n%s", html.EscapeString(p.Title), head)
	ground := Path{Points: Rect(0, 0, p.Width, p.Height), Closed: true, Style: Style{Fill: Ground}}
	for _, s := range append([]Shape{ground}, p.Shapes...) {
		switch s := s.(type) {
		case Path:
			element(&b, "path", attribute("d", data(s))+paint(s.Style), s.About)
		case Disc:
			element(&b, "circle", attribute("cx", number(s.At.X))+attribute("cy", number(s.At.Y))+attribute("r", number(s.Radius))+paint(s.Style), s.About)
		case Text:
			b.WriteString(text(s))
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func element(b *bytes.Buffer, name, attributes string, about About) {
	if about.Mark != "" {
		attributes += attribute("data-mark", about.Mark)
	}
	if about.Title == "" {
		fmt.Fprintf(b, "<%s%s/>\n", name, attributes)
		return
	}
	fmt.Fprintf(b, "<%s%s><title>%s</title></%[1]s>\n", name, attributes, html.EscapeString(about.Title))
}

func data(p Path) string {
	var d strings.Builder
	for i, at := range p.Points {
		letter := byte('L')
		if i == 0 {
			letter = 'M'
		}
		d.WriteByte(letter)
		d.WriteString(number(at.X) + " " + number(at.Y))
	}
	if p.Closed {
		d.WriteByte('Z')
	}
	return d.String()
}

// attribute is one of an element, with a space before it.
func attribute(name, value string) string { return " " + name + `="` + html.EscapeString(value) + `"` }

func paint(s Style) string {
	fill, classes := "none", []string{}
	if s.Fill != None {
		fill, classes = hex(roles[s.Fill].light), append(classes, "f-"+string(s.Fill))
	}
	attributes := attribute("fill", fill)
	if s.Stroke != None {
		classes = append(classes, "k-"+string(s.Stroke))
		attributes += attribute("stroke", hex(roles[s.Stroke].light)) + attribute("stroke-width", number(s.width())) + attribute("stroke-linejoin", "round")
		if s.Dash {
			attributes += attribute("stroke-dasharray", number(dashOn)+" "+number(dashOff))
		}
	}
	if s.Opacity != 0 {
		attributes += attribute("opacity", number(s.Opacity))
	}
	return attribute("class", strings.Join(classes, " ")) + attributes
}

// The lengths of a dash and of the gap after it.
const dashOn, dashOff = 5.0, 4.0

func (s Style) width() float64 {
	if s.Width == 0 {
		return 1
	}
	return s.Width
}

func text(t Text) string {
	attributes := attribute("x", number(t.At.X)) + attribute("y", number(t.At.Y)) +
		attribute("class", "f-"+string(t.Role)) + attribute("fill", hex(roles[t.Role].light)) + attribute("font-size", number(t.Size))
	if t.Anchor != Start && t.Anchor != "" {
		attributes += attribute("text-anchor", t.Anchor)
	}
	if t.Bold {
		attributes += attribute("font-weight", "bold")
	}
	if t.Up {
		attributes += attribute("transform", "rotate(-90 "+number(t.At.X)+" "+number(t.At.Y)+")")
	}
	return "<text" + attributes + ">" + html.EscapeString(t.Text) + "</text>\n"
}

// number writes a length to the hundredth.
func number(v float64) string {
	s := strconv.FormatFloat(v, 'f', 2, 64)
	s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	if s == "-0" {
		return "0"
	}
	return s
}
