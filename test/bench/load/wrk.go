package load

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

//go:embed report.lua
var reportScript []byte

// Wrk runs the program wrk.
type Wrk struct {
	exe    string
	script string
}

// FindWrk returns a Wrk that keeps its script in dir, or an error that says
// how to get wrk when it is not there.
func FindWrk(dir string) (*Wrk, error) {
	exe, err := exec.LookPath("wrk")
	if err != nil {
		return nil, fmt.Errorf("wrk is not installed; apt-get install wrk: %w", err)
	}
	script := filepath.Join(dir, "report.lua")
	return &Wrk{exe, script}, os.WriteFile(script, reportScript, 0o600)
}

// A Report is what one run of wrk measured.
type Report struct {
	Requests   int64   `json:"requests"`
	DurationUS float64 `json:"duration_us"`
	P50US      float64 `json:"p50_us"`
	P99US      float64 `json:"p99_us"`
	Connect    int64   `json:"connect"`
	Read       int64   `json:"read"`
	Write      int64   `json:"write"`
	Status     int64   `json:"status"` // responses of 400 and above
	Timeout    int64   `json:"timeout"`
}

// Rate returns requests per second.
func (r Report) Rate() float64 { return float64(r.Requests) / (r.DurationUS / 1e6) }

// Errors returns the number of requests without a good response.
func (r Report) Errors() int64 { return r.Connect + r.Read + r.Write + r.Status + r.Timeout }

// Run loads url over connections kept alive for about d. A run with errors is
// an error: a rate of refusals is not a rate.
func (w *Wrk) Run(ctx context.Context, url string, connections int, d time.Duration) (Report, error) {
	// One thread: it saturates any two cores' worth of servers, and a second
	// would only take from them.
	cmd := exec.CommandContext(ctx, w.exe, "-t", "1", "-c", strconv.Itoa(connections),
		"-d", strconv.Itoa(int(d.Round(time.Second)/time.Second))+"s", "-s", w.script, url)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return Report{}, fmt.Errorf("run wrk against %s: %w: %s", url, err, bytes.TrimSpace(out))
	}
	report, err := parseReport(out)
	if err != nil {
		return report, fmt.Errorf("run wrk against %s: %w", url, err)
	}
	if report.Errors() > 0 || report.Requests == 0 {
		return report, fmt.Errorf("run wrk against %s: %d requests, %d errors (%+v)", url, report.Requests, report.Errors(), report)
	}
	return report, nil
}

func parseReport(out []byte) (Report, error) {
	var r Report
	_, line, found := bytes.Cut(out, []byte("\nBENCH "))
	if !found {
		return r, fmt.Errorf("no report in its output: %s", bytes.TrimSpace(out))
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("read its report %q: %w", line, err)
	}
	return r, nil
}
