package claim

import (
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/lab/paper"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// TestPaper: what the paper says comes out of what was published with it.
func TestPaper(t *testing.T) {
	published, err := paper.Run()
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range Judge(published) {
		if j.Outcome != Confirmed {
			t.Errorf("%s %s: %s", j.Claim, j.Outcome, j.Evidence)
		}
		t.Log(j)
	}
}

// TestEmulated: what a program executes instead of a processor is not held
// against the others.
func TestEmulated(t *testing.T) {
	series := func(sandbox string, median float64) record.Summary {
		return record.Summary{
			Key: record.Key{Experiment: "cold-start", Sandbox: sandbox, Language: "go", Unit: "ms"},
			N:   1, P50: median,
		}
	}
	run := func(emulated []string, summaries ...record.Summary) *record.Run {
		return &record.Run{Host: record.Host{Emulated: emulated}, Summaries: summaries}
	}
	gvisorSlowest := part{experiment: "cold-start", language: "go", family: gvisor}
	unikernelsFastest := part{experiment: "cold-start", language: "go", family: unikernels, less: true}
	both := []string{"linux-qemu", "nanos-qemu", "osv-qemu"}
	for name, c := range map[string]struct {
		part part
		run  *record.Run
		want Outcome
		says string
	}{
		"beside":  {gvisorSlowest, run(both, series("gvisor", 80), series("runc", 50), series("linux-qemu", 1000)), Confirmed, "without emulated"},
		"really":  {gvisorSlowest, run(nil, series("gvisor", 80), series("runc", 50), series("linux-qemu", 1000)), Refuted, "linux-qemu"},
		"alike":   {unikernelsFastest, run(both, series("nanos-qemu", 500), series("osv-qemu", 400), series("runc", 50), series("linux-qemu", 1000)), Confirmed, "emulated guests alone"},
		"nothing": {unikernelsFastest, run(both, series("nanos-qemu", 500), series("osv-qemu", 400), series("runc", 50)), NotMeasurable, "emulated"},
	} {
		got, why := c.part.judge(c.run)
		if got != c.want || !strings.Contains(why, c.says) {
			t.Errorf("%s: %s: %s; want %s", name, got, why, c.want)
		}
	}
}
