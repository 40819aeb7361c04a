package figure_test

import (
	"bytes"
	"flag"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/internal/lab/experiment/all"
	"github.com/unifaas/unifaas/internal/lab/figure"
	"github.com/unifaas/unifaas/internal/lab/labtest"
	"github.com/unifaas/unifaas/internal/lab/paper"
	"github.com/unifaas/unifaas/internal/lab/record"
)

var update = flag.Bool("update", false, "write the golden figures anew: look at them before they are committed")

func published(t *testing.T) *record.Run {
	t.Helper()
	r, err := paper.Run()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// figures returns all figures of a run beside the paper's.
func figures(t *testing.T, r *record.Run) []figure.Figure {
	t.Helper()
	other := published(t)
	m := figure.NewMaker(r, other)
	f, ok := m.TradeOff(r)
	if !ok {
		t.Fatal("there is no trade-off")
	}
	made := []figure.Figure{f}
	for _, e := range slices.Concat(all.Experiments(), paper.Experiments) {
		made = append(made, m.Of(r, e)...)
		if len(r.Of(e.Name, "")) > 0 && r.Name != other.Name {
			made = append(made, m.Beside(r, other, e)...)
		}
	}
	return made
}

// TestGolden compares one figure of each form.
func TestGolden(t *testing.T) {
	golden := []string{
		"trade-off", "cold-start", "cold-start-ratio", "burst", "idle-memory-processes", "phases", "image-size",
		"network-requests", "cpu-fib", "stability", "cold-start-paper",
	}
	for _, f := range figures(t, labtest.Run()) {
		if !slices.Contains(golden, f.Name) {
			continue
		}
		golden = slices.DeleteFunc(golden, func(name string) bool { return name == f.Name })
		path := filepath.Join("testdata", f.Name+".svg")
		got := f.Picture.SVG()
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", f.Name, diff)
		}
	}
	if len(golden) > 0 {
		t.Errorf("these were not made: %v", golden)
	}
}

// TestEverySeriesIsShown: whatever was measured has a mark in its figure.
func TestEverySeriesIsShown(t *testing.T) {
	for _, r := range []*record.Run{labtest.Run(), published(t)} {
		m := figure.NewMaker(r)
		for _, e := range slices.Concat(all.Experiments(), paper.Experiments) {
			made := m.Of(r, e)
			for _, s := range r.Of(e.Name, "") {
				if s.N == 0 {
					continue
				}
				shown := slices.ContainsFunc(made, func(f figure.Figure) bool {
					return slices.ContainsFunc(f.Marks(), func(mark string) bool { return strings.Contains(mark, s.Sandbox) })
				})
				if !shown {
					t.Errorf("%s: %+v has no mark", r.Name, s.Key)
				}
			}
		}
	}
}

// TestRatio: the paper's ratios are those of its medians.
func TestRatio(t *testing.T) {
	for _, f := range figures(t, labtest.Run()) {
		if f.Name != "cold-start-ratio" {
			continue
		}
		// 653.7 ms with runsc, 362 ms with runc.
		if svg := string(f.Picture.SVG()); !strings.Contains(svg, "docker-runsc go, paper: 1.81 times") {
			t.Error("the paper's ratio is not in the figure")
		}
		return
	}
	t.Error("there is no such figure")
}

// TestPNG: a picture has its size, and marks in the colours of its series.
func TestPNG(t *testing.T) {
	for _, f := range figures(t, published(t)) {
		var b bytes.Buffer
		if err := f.Picture.PNG(&b, 2); err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		picture, err := png.Decode(&b)
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		size := picture.Bounds().Size()
		if size.X != int(2*f.Picture.Width) || size.Y < int(2*f.Picture.Height) {
			t.Errorf("%s: %v for %v x %v units", f.Name, size, f.Picture.Width, f.Picture.Height)
		}
		if n := colourful(picture); n < 40 {
			t.Errorf("%s: %d pixels have a colour", f.Name, n)
		}
	}
}

func colourful(p image.Image) (n int) {
	for y := range p.Bounds().Dy() {
		for x := range p.Bounds().Dx() {
			c, _ := color.NRGBAModel.Convert(p.At(x, y)).(color.NRGBA)
			if max(c.R, c.G, c.B)-min(c.R, c.G, c.B) > 60 {
				n++
			}
		}
	}
	return n
}
