package report_test

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/lab/experiment/all"
	"github.com/unifaas/unifaas/internal/lab/labtest"
	"github.com/unifaas/unifaas/internal/lab/paper"
	"github.com/unifaas/unifaas/internal/lab/record"
	"github.com/unifaas/unifaas/internal/lab/report"
)

// A written report and its folder. Tests share them: with the race detector
// one takes ten seconds to write.
type written struct {
	run  *record.Run
	made *report.Report
	dir  string
}

var (
	reports   string // folder of what is shared
	besideOur = sync.OnceValues(func() (written, error) { return write(labtest.Run(), true) })
	ofPaper   = sync.OnceValues(func() (written, error) { return write(nil, false) })
)

func TestMain(m *testing.M) {
	var err error
	if reports, err = os.MkdirTemp("", "report-test-*"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(reports)
	os.Exit(code)
}

// write writes the report of r, or of what is published when that is nil; the
// published one stands beside it if that is asked for.
func write(r *record.Run, beside bool) (written, error) {
	published, err := paper.Run()
	if err != nil {
		return written{}, err
	}
	w := written{run: cmp.Or(r, published)}
	if !beside {
		published = nil
	}
	if w.dir, err = os.MkdirTemp(reports, ""); err != nil {
		return w, err
	}
	w.made = report.New(w.run, published, slices.Concat(all.Experiments(), paper.Experiments))
	return w, w.made.Write(w.dir)
}

func shared(t *testing.T, once func() (written, error)) written {
	t.Helper()
	w, err := once()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFiles(t *testing.T) {
	w := shared(t, besideOur)
	r, made, dir := w.run, w.made, w.dir
	for _, f := range made.Figures() {
		for _, extension := range []string{".svg", ".png"} {
			if info, err := os.Stat(filepath.Join(dir, "figures", f.Name+extension)); err != nil || info.Size() < 500 {
				t.Errorf("%s%s: %v, %v", f.Name, extension, info, err)
			}
		}
	}
	rows, err := csv.NewReader(strings.NewReader(read(t, dir, "summary.csv"))).ReadAll()
	if err != nil || len(rows) != 1+len(r.Summaries) {
		t.Errorf("summary.csv has %d rows of %d series, %v", len(rows), len(r.Summaries), err)
	}
	var summary struct {
		Summaries []record.Summary `json:"summaries"`
		Claims    []any            `json:"claims"`
	}
	if err := json.Unmarshal([]byte(read(t, dir, "summary.json")), &summary); err != nil || len(summary.Summaries) != len(r.Summaries) || len(summary.Claims) == 0 {
		t.Errorf("summary.json has %d series and %d claims, %v", len(summary.Summaries), len(summary.Claims), err)
	}
	if page := read(t, dir, "report.html"); strings.Contains(page, "made<up>") {
		t.Error("a name is not escaped in report.html")
	}
}

// TestPaper: what the paper has published, as a run, is in the report with all
// its figures, and its claims come out as it says.
func TestPaper(t *testing.T) {
	w := shared(t, ofPaper)
	r, made, dir := w.run, w.made, w.dir
	text := read(t, dir, "report.md")
	for _, j := range made.Claims {
		if !strings.Contains(text, "| "+j.Claim+" | confirmed |") {
			t.Errorf("%s: %s", j.Claim, j.Outcome)
		}
	}
	var shown []string
	for _, s := range made.Sections {
		shown = append(shown, s.Name)
		if len(s.Figures) == 0 {
			t.Errorf("%s has no figure", s.Name)
		}
	}
	for _, s := range r.Summaries {
		if !slices.Contains(shown, s.Experiment) {
			t.Errorf("%s is not in the report", s.Experiment)
		}
	}
}

func TestAgain(t *testing.T) {
	before := read(t, shared(t, besideOur).dir, "report.html")
	again, err := write(labtest.Run(), true)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(before, read(t, again.dir, "report.html")); diff != "" {
		t.Errorf("the same run, another page (-first +second):\n%s", diff)
	}
}

func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	dir := t.TempDir()
	if err := unix.Mount("small", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	err := report.New(labtest.Run(), nil, all.Experiments()).Write(dir)
	if err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("got %v", err)
	}
}
