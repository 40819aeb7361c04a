package paper_test

import (
	"testing"

	"github.com/unifaas/unifaas/internal/lab/paper"
	"github.com/unifaas/unifaas/internal/lab/record"
)

func TestRun(t *testing.T) {
	run, err := paper.Run()
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Summaries) != 423 {
		t.Errorf("%d figures, want 423", len(run.Summaries))
	}
	for k, want := range map[record.Key]float64{
		{Experiment: "cold-start", Sandbox: "nanos", Language: "go"}:                                             109.6,
		{Experiment: "burst", Sandbox: "docker-runc", Language: "go", Parameters: "instances=100"}:               6456.6,
		{Experiment: "warm", Language: "go", Parameters: "kind=faas"}:                                            2.3,
		{Experiment: "network-requests", Sandbox: "docker-runc", Language: "go", Parameters: "connections=4096"}: 12518.1,
	} {
		s, ok := run.Find(k)
		if !ok || s.P50 != want || s.Low != want || s.N == 0 {
			t.Errorf("%+v: got %v (found: %v), want %v", k, s.P50, ok, want)
		}
	}
	if len(run.Of("idle-cpu", "")) != 10 {
		t.Errorf("idle-cpu: %d figures, want 10", len(run.Of("idle-cpu", "")))
	}
	for _, s := range run.Summaries {
		if s.Min > s.P25 || s.P25 > s.P50 || s.P50 > s.P75 || s.P75 > s.P95 || s.P95 > s.Max {
			t.Errorf("%+v is out of order", s)
		}
	}
}
