// Package draw makes pictures of simple shapes: SVG, in which text is text and
// colours follow the reader's light or dark mode, and PNG. It knows nothing of
// what is drawn.
package draw

import "fmt"

// A Point is a place in a picture: to the right of its left edge, and below
// its upper one.
type Point struct{ X, Y float64 }

// A Role is what a colour is for. Each has one colour on light ground and one
// on dark.
type Role string

// The roles that are no series.
const (
	None   Role = ""
	Ground Role = "ground" // behind all
	Ink    Role = "ink"    // text, axes
	Muted  Role = "muted"  // text of less weight
	Grid   Role = "grid"
	Alarm  Role = "alarm" // what a reader must not miss
)

// SeriesRoles is how many roles there are for series.
const SeriesRoles = 8

// Series returns the role of series i, which begins again where there are no
// more.
func Series(i int) Role { return Role(fmt.Sprintf("s%d", i%SeriesRoles)) }

// A pair is a role's colours.
type pair struct{ light, dark uint32 } // 0xRRGGBB

// roles are all roles. The series' colours are those of Okabe and Ito ("Color
// Universal Design", 2008), which people with any colour vision tell apart;
// black is left out, yellow replaced by grey (it can't be seen on white), and on
// dark ground the dark ones are lighter.
var roles = map[Role]pair{
	Ground: {0xffffff, 0x16181d},
	Ink:    {0x1c1f24, 0xe6e8eb},
	Muted:  {0x5f6670, 0x9aa1ab},
	Grid:   {0xdfe2e6, 0x343941},
	Alarm:  {0xb00020, 0xff8a80},
	"s0":   {0x0072b2, 0x4da3d9},
	"s1":   {0xd55e00, 0xf08040},
	"s2":   {0x009e73, 0x2fc79c},
	"s3":   {0xcc79a7, 0xe09ac2},
	"s4":   {0xe69f00, 0xf2b53a},
	"s5":   {0x56b4e9, 0x7fcaf5},
	"s6":   {0x7a5195, 0xb08cd0},
	"s7":   {0x6b6f76, 0xb3b8c0},
}

// Ways in which text is placed beside its point.
const (
	Start  = "start" // the text begins there
	Middle = "middle"
	End    = "end"
)

// A Style says how a shape looks.
type Style struct {
	Fill    Role
	Stroke  Role
	Width   float64 // of the stroke; 0 is 1
	Dash    bool    // the stroke is dashed
	Opacity float64 // 0 is 1
}

// A Shape is a path, a disc or a text.
type Shape interface{ shape() }

// A Path connects points with straight lines.
type Path struct {
	Points []Point
	Closed bool
	Style  Style
	About  About
}

// A Disc is a filled circle.
type Disc struct {
	At     Point
	Radius float64
	Style  Style
	About  About
}

// A Text is a line of text whose baseline begins, ends or has its middle at a
// point.
type Text struct {
	At     Point
	Text   string
	Size   float64
	Anchor string
	Bold   bool
	Up     bool // written from below to above
	Role   Role
}

// About says what a shape stands for.
type About struct {
	// Mark is the series that the shape shows a value of; "" is for all that
	// shows none, axes and the like.
	Mark string
	// Title is what a reader is told who points at the shape.
	Title string
}

func (Path) shape() {}
func (Disc) shape() {}
func (Text) shape() {}

// A Picture is shapes, the later ones over the earlier.
type Picture struct {
	Width, Height float64
	Title         string // what is to be seen, for who can't see it
	Shapes        []Shape
}

// Add adds shapes.
func (p *Picture) Add(shapes ...Shape) { p.Shapes = append(p.Shapes, shapes...) }

// Line adds a straight line.
func (p *Picture) Line(a, b Point, style Style) {
	p.Add(Path{Points: []Point{a, b}, Style: style})
}

// Rect returns the outline of a rectangle.
func Rect(x, y, width, height float64) []Point {
	return []Point{{x, y}, {x + width, y}, {x + width, y + height}, {x, y + height}}
}

// Marks are the forms of marks, so that series differ not by colour alone.
const markForms = 6

// Mark returns form i of a mark around a point; forms begin again where there
// are no more.
func Mark(i int, at Point, size float64, style Style, about About) Shape {
	polygon := func(points ...Point) Shape {
		for i := range points {
			points[i] = Point{at.X + points[i].X*size, at.Y + points[i].Y*size}
		}
		return Path{Points: points, Closed: true, Style: style, About: about}
	}
	const third = 1.0 / 3
	switch i % markForms {
	case 1:
		return polygon(Rect(-0.9, -0.9, 1.8, 1.8)...)
	case 2:
		return polygon(Point{0, -1.2}, Point{1.1, 0.8}, Point{-1.1, 0.8})
	case 3:
		return polygon(Point{0, -1.3}, Point{1.3, 0}, Point{0, 1.3}, Point{-1.3, 0})
	case 4:
		return polygon(Point{0, 1.2}, Point{1.1, -0.8}, Point{-1.1, -0.8})
	case 5: // a cross
		return polygon(Point{-third, -1}, Point{third, -1}, Point{third, -third}, Point{1, -third}, Point{1, third}, Point{third, third},
			Point{third, 1}, Point{-third, 1}, Point{-third, third}, Point{-1, third}, Point{-1, -third}, Point{-third, -third})
	default:
		return Disc{At: at, Radius: size, Style: style, About: about}
	}
}

// Marks returns the series that the picture's shapes show values of, one for
// each such shape.
func (p *Picture) Marks() []string {
	var all []string
	for _, s := range p.Shapes {
		var about About
		switch s := s.(type) {
		case Path:
			about = s.About
		case Disc:
			about = s.About
		}
		if about.Mark != "" {
			all = append(all, about.Mark)
		}
	}
	return all
}
