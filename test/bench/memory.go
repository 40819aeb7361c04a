package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/unifaas/unifaas/test/bench/measure"
)

const (
	sampleEvery  = time.Second
	anonLimitMiB = 24
	rssLimitMiB  = 64
)

// A footprint is the memory of a process, in MiB.
type footprint struct{ anon, rss float64 }

// memory measures the platform with many functions registered and nothing
// running.
func (b *bench) memory(ctx context.Context) ([]measure.Row, error) {
	suffix := fmt.Sprintf(", %d functions, nothing running", b.scale.functions)
	missing := func(why error) []measure.Row {
		return []measure.Row{
			measure.Missing("RssAnon"+suffix, "MiB", "limit", measure.AtMost(1), why.Error()),
			measure.Missing("RSS"+suffix, "MiB", "limit", measure.AtMost(1), why.Error()),
		}
	}
	functions := map[string]function{}
	for i := range b.scale.functions {
		functions[fmt.Sprintf("f%04d", i)] = function{sandbox: "gvisor", port: functionPort, concurrency: 1, cpus: 1}
	}
	started := time.Now()
	p, err := b.startUnifaas(ctx, "memory", functions, place{})
	if err != nil {
		return missing(err), err
	}
	loaded := time.Since(started)
	anon, rss, err := sampleMemory(ctx, p.Pid(), b.scale.idle)
	err = errors.Join(err, p.Stop())
	if len(rss) == 0 {
		return missing(err), err
	}
	return []measure.Row{
		measure.Limit("RssAnon"+suffix, "MiB", anon, anonLimitMiB).Noted("served %.1f s after its start", loaded.Seconds()),
		measure.Limit("RSS"+suffix, "MiB", rss, rssLimitMiB),
	}, err
}

// sampleMemory measures a process each second for d.
func sampleMemory(ctx context.Context, pid int, d time.Duration) (anon, rss measure.Sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return anon, rss, nil
		case <-tick.C:
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return anon, rss, fmt.Errorf("measure the platform's memory: %w", err)
		}
		f, err := parseStatus(string(status))
		if err != nil {
			return anon, rss, err
		}
		anon, rss = append(anon, f.anon), append(rss, f.rss)
	}
}

// parseStatus reads /proc/PID/status, proc_pid_status(5): values are in KiB.
func parseStatus(text string) (footprint, error) {
	var f footprint
	found := 0
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		var into *float64
		switch name {
		case "RssAnon":
			into = &f.anon
		case "VmRSS":
			into = &f.rss
		default:
			continue
		}
		if _, err := fmt.Sscanf(strings.TrimSpace(value), "%f kB", into); err != nil {
			return f, fmt.Errorf("read %q of a process's status: %w", strings.TrimSpace(line), err)
		}
		*into /= 1024
		found++
	}
	if found != 2 {
		return f, errors.New("a process's status has no VmRSS or RssAnon")
	}
	return f, nil
}
