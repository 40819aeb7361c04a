// Package compute measures work inside a function: processor, memory, files.
package compute

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/load"
	"github.com/unifaas/unifaas/internal/lab/record"
	"github.com/unifaas/unifaas/internal/lab/workload"
)

// Experiments are the paper's cpu-fib, cpu-fft, cpu-matrix, alloc, read and
// unzip. Sizes are smaller in a quick run, which its samples' unit does not
// show: ratios carry over, times do not.
var Experiments = []experiment.Experiment{
	first("cpu-fib", "a loop of additions, first and second request", whole, "/fib?n=50000000", "/fib?n=500000000"),
	first("cpu-fft", "a fast Fourier transform, by the function's own clock, first and second request", own, "/fft?n=65536", "/fft?n=1048576"),
	first("cpu-matrix", "a product of matrices, by the function's own clock, first and second request", own, "/matrix?n=128", "/matrix?n=512"),
	first("alloc", "touching every page of new memory, first and second request", whole, "/alloc?mib=50", "/alloc?mib=50"),
	first("read", "reading a file of 50 MiB, first and second request", whole, "/read", "/read"),
	unzip,
}

// A clock says whose time counts.
type clock int

const (
	whole clock = iota // the request's latency
	own                // what the function measured
)

func first(name, about string, c clock, quick, paper string) experiment.Experiment {
	return experiment.Experiment{
		Name: name, About: about, Inside: true, Languages: []string{workload.Go},
		Charts: []experiment.Chart{{Title: strings.ToUpper(about[:1]) + about[1:], Axis: "time"}},
		Trials: func(s experiment.Scale) []experiment.Trial {
			path := experiment.Of(s, quick, paper, paper)
			return []experiment.Trial{{
				Times: experiment.Of(s, 7, 20, 100), Cost: 190 * time.Millisecond, Before: experiment.One,
				Take: func(ctx context.Context, lab experiment.Lab, s experiment.Subject) ([]record.Sample, error) {
					return twice(ctx, lab, s, path, c, "attempt=first", "attempt=second")
				},
			}}
		},
	}
}

var unzip = experiment.Experiment{
	Name: "unzip", About: "unpacking an archive of 50 MiB to the function's own disk", Inside: true, Languages: []string{workload.Go},
	Charts: []experiment.Chart{{Title: "Unpacking an archive of 50 MiB", Axis: "time"}},
	Trials: func(s experiment.Scale) []experiment.Trial {
		return []experiment.Trial{{
			Times: experiment.Of(s, 7, 20, 100), Cost: 240 * time.Millisecond, Before: experiment.One,
			Take: func(ctx context.Context, lab experiment.Lab, s experiment.Subject) ([]record.Sample, error) {
				return twice(ctx, lab, s, "/unzip", whole, "")
			},
		}}
	},
}

// twice asks an instance that has served no request, once for each of
// parameters.
func twice(ctx context.Context, lab experiment.Lab, s experiment.Subject, path string, c clock, parameters ...string) ([]record.Sample, error) {
	if err := lab.Await(ctx, s, 1); err != nil {
		return nil, err
	}
	var samples []record.Sample
	for _, p := range parameters {
		var seconds float64
		result := load.Once(ctx, experiment.Compute(lab, s, experiment.Idle, path, &seconds))
		sample := experiment.Latency(p, result)
		if c == own {
			sample.Value = seconds * 1e3
		}
		samples = append(samples, sample)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("ask for %s: %w", path, err)
	}
	return samples, nil
}
