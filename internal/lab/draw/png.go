package draw

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"math"
	"sync"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/f64"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"

	ximage "golang.org/x/image/draw"
)

// PNG writes the picture on light ground, scale pixels for each unit.
func (p *Picture) PNG(w io.Writer, scale float64) error {
	c := &canvas{scale: scale, to: image.NewRGBA(image.Rect(0, 0, int(math.Ceil(p.Width*scale)), int(math.Ceil(p.Height*scale))))}
	draw.Draw(c.to, c.to.Bounds(), image.NewUniform(ink(Ground, 1)), image.Point{}, draw.Src)
	for _, s := range p.Shapes {
		if err := c.add(s); err != nil {
			return err
		}
	}
	return png.Encode(w, c.to)
}

type canvas struct {
	to    *image.RGBA
	scale float64
}

func ink(r Role, opacity float64) color.NRGBA {
	rgb := roles[r].light
	return color.NRGBA{R: uint8(rgb >> 16), G: uint8(rgb >> 8), B: uint8(rgb), A: uint8(math.Round(255 * opacity))}
}

func (s Style) opacity() float64 {
	if s.Opacity == 0 {
		return 1
	}
	return s.Opacity
}

func (c *canvas) add(s Shape) error {
	switch s := s.(type) {
	case Path:
		c.outline(s.Points, s.Closed, s.Style)
	case Disc:
		c.outline(circle(s.At, s.Radius), true, s.Style)
	case Text:
		return c.text(s)
	}
	return nil
}

// circle returns a polygon that can't be told from a circle of its size.
func circle(at Point, radius float64) []Point {
	points := make([]Point, 32)
	for i := range points {
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / float64(len(points)))
		points[i] = Point{at.X + radius*cos, at.Y + radius*sin}
	}
	return points
}

func (c *canvas) outline(points []Point, closed bool, s Style) {
	if s.Fill != None {
		c.fill(ink(s.Fill, s.opacity()), points)
	}
	if s.Stroke == None || len(points) == 0 {
		return
	}
	if closed {
		points = append(points[:len(points):len(points)], points[0])
	}
	var segments [][]Point
	for i := 1; i < len(points); i++ {
		for _, part := range parts(points[i-1], points[i], s.Dash) {
			segments = append(segments, bar(part[0], part[1], s.width()))
		}
		if !s.Dash && i+1 < len(points) {
			segments = append(segments, circle(points[i], s.width()/2)) // joins are round
		}
	}
	c.fill(ink(s.Stroke, s.opacity()), segments...)
}

// parts returns a line's dashes, or the line.
func parts(a, b Point, dashed bool) [][2]Point {
	length := math.Hypot(b.X-a.X, b.Y-a.Y)
	if !dashed || length == 0 {
		return [][2]Point{{a, b}}
	}
	at := func(d float64) Point {
		f := min(d, length) / length
		return Point{a.X + f*(b.X-a.X), a.Y + f*(b.Y-a.Y)}
	}
	var all [][2]Point
	for d := 0.0; d < length; d += dashOn + dashOff {
		all = append(all, [2]Point{at(d), at(d + dashOn)})
	}
	return all
}

// bar returns the rectangle that a line of some width covers.
func bar(a, b Point, width float64) []Point {
	length := math.Hypot(b.X-a.X, b.Y-a.Y)
	if length == 0 {
		return circle(a, width/2)
	}
	x, y := -(b.Y-a.Y)/length*width/2, (b.X-a.X)/length*width/2
	return []Point{{a.X + x, a.Y + y}, {b.X + x, b.Y + y}, {b.X - x, b.Y - y}, {a.X - x, a.Y - y}}
}

// fill fills polygons. Where they overlap they count once: all are wound the
// same way.
func (c *canvas) fill(with color.Color, polygons ...[]Point) {
	within := c.bounds(polygons)
	if within.Empty() {
		return
	}
	r := vector.NewRasterizer(within.Dx(), within.Dy())
	for _, points := range polygons {
		if area(points) < 0 {
			points = reversed(points)
		}
		for i, p := range points {
			x, y := float32(p.X*c.scale-float64(within.Min.X)), float32(p.Y*c.scale-float64(within.Min.Y))
			if i == 0 {
				r.MoveTo(x, y)
				continue
			}
			r.LineTo(x, y)
		}
		r.ClosePath()
	}
	r.Draw(c.to, within, image.NewUniform(with), image.Point{})
}

// bounds returns the pixels that polygons may touch.
func (c *canvas) bounds(polygons [][]Point) image.Rectangle {
	var all image.Rectangle
	for _, points := range polygons {
		for _, p := range points {
			x, y := int(math.Floor(p.X*c.scale)), int(math.Floor(p.Y*c.scale))
			all = all.Union(image.Rect(x-1, y-1, x+2, y+2))
		}
	}
	return all.Intersect(c.to.Bounds())
}

// area is twice a polygon's, negative where it is wound the other way.
func area(points []Point) float64 {
	sum := 0.0
	for i, p := range points {
		q := points[(i+1)%len(points)]
		sum += p.X*q.Y - q.X*p.Y
	}
	return sum
}

func reversed(points []Point) []Point {
	turned := make([]Point, len(points))
	for i, p := range points {
		turned[len(points)-1-i] = p
	}
	return turned
}

// fonts are parsed when the first picture needs them.
var fonts = sync.OnceValues(func() (map[bool]*opentype.Font, error) {
	all := map[bool]*opentype.Font{}
	for bold, file := range map[bool][]byte{false: goregular.TTF, true: gobold.TTF} {
		f, err := opentype.Parse(file)
		if err != nil {
			return nil, fmt.Errorf("parse font: %w", err)
		}
		all[bold] = f
	}
	return all, nil
})

func face(size float64, bold bool) (font.Face, error) {
	all, err := fonts()
	if err != nil {
		return nil, err
	}
	return opentype.NewFace(all[bold], &opentype.FaceOptions{Size: size, DPI: 72, Hinting: font.HintingNone})
}

// widest is how much wider than ours a reader's font may be.
const widest = 1.15

// Width returns how wide a text is at most: a reader's font may be another.
func Width(text string, size float64, bold bool) float64 {
	f, err := face(size, bold)
	if err != nil {
		return size * 0.6 * float64(len(text))
	}
	return widest * float64(font.MeasureString(f, text)) / 64
}

func (c *canvas) text(t Text) error {
	f, err := face(t.Size*c.scale, t.Bold)
	if err != nil {
		return err
	}
	width := font.MeasureString(f, t.Text)
	begin := fixed.Int26_6(0)
	switch t.Anchor {
	case Middle:
		begin = -width / 2
	case End:
		begin = -width
	}
	at := fixed.Point26_6{X: fixed.Int26_6(t.At.X * c.scale * 64), Y: fixed.Int26_6(t.At.Y * c.scale * 64)}
	if !t.Up {
		at.X += begin
		(&font.Drawer{Dst: c.to, Src: image.NewUniform(ink(t.Role, 1)), Face: f, Dot: at}).DrawString(t.Text)
		return nil
	}
	// Written aside, and turned into place.
	height := int(math.Ceil(2 * t.Size * c.scale))
	aside := image.NewRGBA(image.Rect(0, 0, width.Ceil()+1, height))
	(&font.Drawer{Dst: aside, Src: image.NewUniform(ink(t.Role, 1)), Face: f, Dot: fixed.P(0, height/2)}).DrawString(t.Text)
	x, y := float64(at.X)/64, float64(at.Y-begin)/64
	ximage.BiLinear.Transform(c.to, f64.Aff3{0, 1, x - float64(height/2), -1, 0, y}, aside, aside.Bounds(), ximage.Over, nil)
	return nil
}
