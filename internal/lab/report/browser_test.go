package report_test

import (
	"bytes"
	"context"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// browser returns a headless Chromium without a network.
func browser(t *testing.T) context.Context {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("chromium is not installed")
		}
		t.Skip("chromium is not installed (on Debian and Ubuntu: apt-get install chromium)")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.WindowSize(1100, 900),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND"), chromedp.Flag("disable-dev-shm-usage", true), chromedp.WSURLReadTimeout(time.Minute))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	return ctx
}

// over is what a test writes to the console last.
const over = "the test is over"

// console follows the page's console; what it returns gives all that was
// written there.
func console(ctx context.Context, t *testing.T) (written func() []string) {
	t.Helper()
	messages := chromedp.Console(ctx)
	all := make(chan []string, 1)
	go func() {
		var texts []string
		for m, err := range messages {
			if err != nil {
				texts = append(texts, err.Error())
				break
			}
			if m.Text == over {
				break
			}
			texts = append(texts, m.String())
		}
		all <- texts
	}()
	return func() []string {
		if err := chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](`void console.info("`+over+`")`)); err != nil {
			t.Fatal(err)
		}
		return <-all
	}
}

// do takes steps.
func do(ctx context.Context, t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// ask runs an action that has a result.
func ask[T any](ctx context.Context, t *testing.T, a chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// unmarked lists, for each figure of the page, the series of which no mark is
// to be seen inside it.
const unmarked = `[...document.querySelectorAll("figure")].flatMap(figure => {
	const within = figure.querySelector("svg").getBoundingClientRect();
	const seen = new Set([...figure.querySelectorAll("[data-mark]")].filter(mark => {
		const box = mark.getBoundingClientRect();
		const style = getComputedStyle(mark);
		return box.width + box.height > 0 && (style.fill !== "none" || style.stroke !== "none") &&
			box.left >= within.left && box.right <= within.right && box.top >= within.top && box.bottom <= within.bottom;
	}).map(mark => mark.dataset.mark.trim()));
	const wanted = figure.dataset.marks.split("|");
	return wanted.filter(mark => mark === "" || !seen.has(mark)).map(mark => figure.id + ": " + mark);
})`

// overflowing lists figures whose texts leave them.
const overflowing = `[...document.querySelectorAll("figure svg text")].filter(text => {
	const within = text.ownerSVGElement.getBoundingClientRect(), box = text.getBoundingClientRect();
	return box.left < within.left - 1 || box.right > within.right + 1 || box.bottom > within.bottom + 1;
}).map(text => text.closest("figure").id + ": " + text.textContent)`

func TestInBrowser(t *testing.T) {
	for _, w := range []written{shared(t, besideOur), shared(t, ofPaper)} {
		t.Run(w.run.Name, func(t *testing.T) {
			ctx := browser(t)
			written := console(ctx, t)
			do(ctx, t, chromedp.Navigate("file://"+filepath.Join(w.dir, "report.html")))
			figures := ask(ctx, t, chromedp.Evaluate[int](`document.querySelectorAll("figure svg").length`))
			without := ask(ctx, t, chromedp.Evaluate[[]string](unmarked))
			leaving := ask(ctx, t, chromedp.Evaluate[[]string](overflowing))
			light := ask(ctx, t, chromedp.FullScreenshot(100))
			do(ctx, t, chromedp.Click(chromedp.CSS("#theme")))
			dark := ask(ctx, t, chromedp.FullScreenshot(100))
			keep(t, w.run.Name+"-light.png", light)
			keep(t, w.run.Name+"-dark.png", dark)
			if figures == 0 || figures != len(w.made.Figures()) {
				t.Errorf("%d figures on the page, %d were made", figures, len(w.made.Figures()))
			}
			if len(without) > 0 {
				t.Errorf("no marks to be seen: %q", without)
			}
			if len(leaving) > 0 {
				t.Errorf("texts that leave their figures: %q", leaving)
			}
			if l, d := brightness(t, light), brightness(t, dark); l < 0.8 || d > 0.3 {
				t.Errorf("the page's brightness is %.2f, and %.2f when it is dark", l, d)
			}
			if texts := written(); len(texts) > 0 {
				t.Errorf("the console says: %q", texts)
			}
		})
	}
}

// TestSorting clicks on a heading of a table, twice.
func TestSorting(t *testing.T) {
	dir := shared(t, besideOur).dir
	ctx := browser(t)
	written := console(ctx, t)
	medians := chromedp.Evaluate[[]float64](`[...document.querySelectorAll("#cold-start tbody tr")].map(row => Number(row.cells[5].dataset.value))`)
	click := chromedp.Click(chromedp.CSS("#cold-start th:nth-child(6)"))
	do(ctx, t,
		chromedp.Navigate("file://"+filepath.Join(dir, "report.html")),
		chromedp.Evaluate[chromedp.Void](`document.querySelectorAll("details").forEach(d => d.open = true)`), click)
	up := ask(ctx, t, medians)
	do(ctx, t, click)
	down := ask(ctx, t, medians)
	if len(up) != 8 || !slices.IsSorted(up) {
		t.Errorf("sorted: %v", up)
	}
	slices.Reverse(down)
	if !slices.Equal(up, down) {
		t.Errorf("sorted the other way round: %v", down)
	}
	if texts := written(); len(texts) > 0 {
		t.Errorf("the console says: %q", texts)
	}
}

// keep keeps a screenshot where `go test -artifacts` is asked to.
func keep(t *testing.T, name string, picture []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), name), picture, 0o644); err != nil {
		t.Fatal(err)
	}
}

// brightness is the mean of a picture's, 0 to 1.
func brightness(t *testing.T, picture []byte) float64 {
	t.Helper()
	decoded, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	sum, n := 0.0, 0.0
	size := decoded.Bounds().Size()
	for y := 0; y < size.Y; y += 7 {
		for x := 0; x < size.X; x += 7 {
			p := image.Pt(x, y).Add(decoded.Bounds().Min)
			r, g, b, _ := decoded.At(p.X, p.Y).RGBA()
			sum, n = sum+float64(r+g+b)/3/0xffff, n+1
		}
	}
	return sum / n
}
