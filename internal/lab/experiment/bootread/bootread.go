// Package bootread measures what a cold start reads from storage.
package bootread

import (
	"context"
	"fmt"
	"time"

	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/load"
	"github.com/unifaas/unifaas/internal/lab/measure"
	"github.com/unifaas/unifaas/internal/lab/record"
	"github.com/unifaas/unifaas/internal/lab/workload"
)

// Experiment is beside the paper's "boot-read", which has the time that a
// monitor's reads of kernel and root file system take. Here it is how much is
// read from storage, whoever does it; the metric "latency" is of the request.
// cached=0 is after the machine's page cache was emptied.
var Experiment = experiment.Experiment{
	Name: "boot-read", Languages: []string{workload.Go},
	Inside: true,
	About:  "what a cold start reads from storage, and its latency, with the page cache warm (cached=1) and emptied (cached=0)",
	Charts: []experiment.Chart{
		{Title: "Reads of a cold start, page cache emptied and warm", Axis: "read"},
		{Name: "latency", Title: "Cold start, page cache emptied and warm", Metric: "latency", Axis: "latency", Log: true},
	},
	Trials: func(s experiment.Scale) []experiment.Trial {
		return []experiment.Trial{{Times: experiment.Of(s, 3, 20, 100), Cost: 600 * time.Millisecond, Take: take}}
	},
}

const mib = 1 << 20

// take starts an instance with the page cache emptied, and another one, for
// which the first has filled it.
func take(ctx context.Context, lab experiment.Lab, s experiment.Subject) ([]record.Sample, error) {
	if err := measure.EmptyPageCache(); err != nil {
		return nil, fmt.Errorf("the page cache can't be emptied, which needs root: %w", err)
	}
	var samples []record.Sample
	for _, parameters := range []string{"cached=0", "cached=1"} {
		two, err := start(ctx, lab, s, parameters)
		if err != nil {
			return nil, err
		}
		samples = append(samples, two...)
	}
	return samples, nil
}

func start(ctx context.Context, lab experiment.Lab, s experiment.Subject, parameters string) ([]record.Sample, error) {
	before, err := measure.PagedIn()
	if err != nil {
		return nil, err
	}
	result := load.Once(ctx, experiment.Hello(lab, s, experiment.Single))
	after, err := measure.PagedIn()
	if err != nil {
		return nil, err
	}
	read := experiment.Sample(parameters, "MiB", float64(after-before)/mib)
	read.Failure, read.At = result.Failure, result.Began
	latency := experiment.Latency(parameters, result)
	latency.Metric = "latency"
	return []record.Sample{read, latency}, lab.Gone(ctx, s, experiment.Single)
}
