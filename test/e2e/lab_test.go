package e2e

import (
	"encoding/csv"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestLab measures two real sandboxes. The first run is killed on its way, and
// the second goes on where it was.
func TestLab(t *testing.T) {
	needsSandbox(t, "container")
	needsGVisor(t)
	dir := filepath.Join(t.TempDir(), "run")
	lab := func() *exec.Cmd {
		cmd := exec.Command(binariesOf(t).unifaas, "lab", "run", "--quick", "--output", dir, "--languages", "go",
			"--sandboxes", "container,gvisor", "--experiments", "cold-start,idle-memory,phases,unzip")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
		return cmd
	}
	first := lab()
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	samples := filepath.Join(dir, "samples.jsonl")
	eventually(t, "samples", func() bool { return lines(samples) > 10 })
	_ = first.Process.Kill()
	_ = first.Wait()
	kept, err := os.ReadFile(samples)
	if err != nil {
		t.Fatal(err)
	}
	// Its platform ends with it, and cleans up.
	eventually(t, "the end of the first run's platform", func() bool {
		return exec.Command("pgrep", "-f", "--", filepath.Join(dir, "platform")).Run() != nil
	})

	if out, err := lab().CombinedOutput(); err != nil {
		t.Fatalf("the second run: %v\n%s", err, out)
	}
	whole := kept[:strings.LastIndexByte(string(kept), '\n')+1]
	now, err := os.ReadFile(samples)
	if err != nil {
		t.Fatal(err)
	}
	// All but a step that was cut off is there as it was.
	if common := strings.LastIndex(string(whole), `{"done"`); common < 0 || !strings.HasPrefix(string(now), string(whole[:common])) {
		t.Error("samples of the first run are lost")
	}
	wantMeasured(t, dir)
	if left, err := os.ReadDir(dir); err != nil || len(left) != 7 {
		t.Errorf("in the run's folder: %v, %v; want samples, facts, two reports, two summaries and figures", left, err)
	}
}

func lines(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	return strings.Count(string(text), "\n")
}

// wantMeasured looks for what must be in the summary of each sandbox.
func wantMeasured(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "summary.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	number := map[string]int{} // samples, by what they are of
	for _, row := range rows[1:] {
		n, err := strconv.Atoi(row[5])
		if err != nil {
			t.Fatal(err)
		}
		number[strings.Join([]string{row[0], row[1], row[12]}, " ")] += n
		if failures := row[15]; failures != "0" {
			t.Errorf("%v: %s failures", row[:4], failures)
		}
	}
	for _, sandbox := range []string{"container", "gvisor"} {
		for what, want := range map[string]int{
			"cold-start " + sandbox + " ": 7, "idle-memory " + sandbox + " pss": 1, "phases " + sandbox + " ready": 7, "unzip " + sandbox + " ": 7,
		} {
			if number[what] != want {
				t.Errorf("%s: %d samples, want %d; there are %v", what, number[what], want, number)
			}
		}
	}
}
