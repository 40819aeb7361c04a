package report_test

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/lab/experiment/all"
	"github.com/unifaas/unifaas/internal/lab/labtest"
	"github.com/unifaas/unifaas/internal/lab/paper"
	"github.com/unifaas/unifaas/internal/lab/record"
	"github.com/unifaas/unifaas/internal/lab/report"
)

func published(t *testing.T) *record.Run {
	t.Helper()
	r, err := paper.Run()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// write writes a run's report and returns its folder.
func write(t *testing.T, r, beside *record.Run) (*report.Report, string) {
	t.Helper()
	dir := t.TempDir()
	made := report.New(r, beside, slices.Concat(all.Experiments(), paper.Experiments))
	if err := made.Write(dir); err != nil {
		t.Fatal(err)
	}
	return made, dir
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
	r := labtest.Run()
	made, dir := write(t, r, published(t))
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
	r := published(t)
	made, dir := write(t, r, nil)
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
	_, dir := write(t, labtest.Run(), published(t))
	before := read(t, dir, "report.html")
	if err := report.New(labtest.Run(), published(t), all.Experiments()).Write(dir); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, read(t, dir, "report.html")); diff != "" {
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
