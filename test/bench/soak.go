package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/unifaas/unifaas/test/bench/load"
	"github.com/unifaas/unifaas/test/bench/measure"
)

const (
	soakConnections = 128
	// enough of the stated rate must be reached for the row to count.
	enough = 0.95
	// headroom is what is asked of a machine that can't reach the rate, of
	// what it can: beyond its capacity queues would be measured.
	headroom = 0.7
)

// flat is how much memory may grow during the second half of the load: what a
// collector's phases make uncertain, and far below a leak of one object a
// request.
var flat = measure.AtMost(1.05)

// soak measures the platform's memory under a steady load: once over bare
// processes, which even a small machine can serve at the stated rate, and once
// over gVisor's instances.
func (b *bench) soak(ctx context.Context) ([]measure.Row, error) {
	var rows []measure.Row
	var errs []error
	for _, variant := range []struct {
		name  string
		start func(context.Context, map[string]function) (*platform, error)
		f     function
	}{
		{"bare processes", b.startSoakProcesses, function{sandbox: "auto", port: functionPort}},
		{"gVisor", func(ctx context.Context, f map[string]function) (*platform, error) {
			return b.startUnifaas(ctx, "soak-gvisor", f, place{})
		}, function{sandbox: "gvisor", port: functionPort}},
	} {
		name := fmt.Sprintf("RSS under load, %d warm instances, %s", b.scale.instances, variant.name)
		variant.f.concurrency, variant.f.instances, variant.f.cpus = 1, b.scale.instances, 1
		p, err := variant.start(ctx, map[string]function{"benchmark": variant.f})
		if err == nil {
			err = p.awaitInstances(ctx, b.scale.instances)
		}
		var row measure.Row
		if err == nil {
			row, err = b.soakOne(ctx, name, p)
		}
		if err != nil {
			row = measure.Missing(name, "MiB", "itself at half time", flat, err.Error())
		}
		rows = append(rows, row)
		errs = append(errs, err, b.group.StopAll())
	}
	return rows, errors.Join(errs...)
}

func (b *bench) startSoakProcesses(ctx context.Context, functions map[string]function) (*platform, error) {
	exe, err := b.build(ctx, "platform", "./test/bench/platform")
	if err != nil {
		return nil, err
	}
	return b.startPlatform(ctx, "soak-process", exe, functions, place{})
}

func (b *bench) openLoop(p *platform, rate int, d time.Duration) load.OpenLoop {
	return load.OpenLoop{
		Address: p.gateway, Paths: []string{"/invoke/benchmark" + helloPath},
		Rate: rate, Connections: soakConnections, Duration: d,
	}
}

// soakOne loads p and returns how its memory went.
func (b *bench) soakOne(ctx context.Context, name string, p *platform) (measure.Row, error) {
	rate := b.scale.soakRate
	trial := b.openLoop(p, rate, b.scale.calibration).Run(ctx)
	if trial.Achieved() < enough*float64(rate) {
		rate = int(headroom * trial.Achieved())
	}
	if rate == 0 {
		return measure.Row{}, fmt.Errorf("no request was answered: %w", trial.FirstError)
	}
	result := make(chan load.Result, 1)
	go func() { result <- b.openLoop(p, rate, b.scale.soak).Run(ctx) }()
	_, rss, err := sampleMemory(ctx, p.Pid(), b.scale.soak)
	r := <-result
	if err == nil && len(rss) < 4 {
		err = errors.New("too few samples")
	}
	if err != nil {
		return measure.Row{}, err
	}
	return soakRow(name, rss, r, rate, b.scale.soakRate), nil
}

// soakRow judges a series of memory by the line through its second half.
func soakRow(name string, rss measure.Sample, r load.Result, rate, stated int) measure.Row {
	half := rss[len(rss)/2:]
	line := half.Trend()
	row := measure.Compare(name, "MiB", measure.Sample{line.Last}, "itself at half time", measure.Sample{line.First}, flat)
	row.Rounds, row.OursMAD, row.RatioLow, row.RatioHigh = len(half), measure.Number(half.MAD()), measure.Unknown, measure.Unknown
	row.PeerMAD = row.OursMAD
	row.OursRounds, row.PeerRounds = nil, nil // the line's ends were not measured
	row = row.Noted("%.0f requests/s of %d asked for, %d failed, %d unsent, p50 %v, p99 %v; RSS median %.1f, largest %.1f MiB (%.2f of the median)",
		r.Achieved(), rate, r.Failed, r.Unsent, r.P50, r.P99, rss.Median(), rss.Max(), rss.Max()/rss.Median())
	if r.FirstError != nil {
		row = row.Noted("first failure: %v", r.FirstError)
	}
	if why := notSteady(r, rate, stated); why != "" {
		row = row.Noted("%s", why)
		row.Valid = false
	}
	return row
}

// notSteady says why r is not the load that memory is to be judged under, ""
// if it is.
func notSteady(r load.Result, rate, stated int) string {
	switch {
	case rate < stated:
		return fmt.Sprintf("this machine can't serve %d requests/s this way", stated)
	case r.Achieved() < enough*float64(stated) || math.IsNaN(r.Achieved()):
		return "the rate was not reached"
	case r.Failed > 0:
		return "requests failed"
	}
	return ""
}
