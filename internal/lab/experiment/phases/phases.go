// Package phases measures the parts of a cold start, as the platform's own
// trace tells them.
package phases

import (
	"context"
	"fmt"
	"time"

	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/load"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// Experiment has a metric for each phase, in their order, and "request" for
// what is left of the request's latency: the way there and back, the queue and
// the function's own work.
var Experiment = experiment.Experiment{
	Name:   "phases",
	Inside: true,
	About:  "the parts of a cold start by the platform's trace; \"request\" is the rest of the request's latency",
	Charts: []experiment.Chart{{Title: "Phases of a cold start", Form: experiment.Stack, Axis: "medians of the parts, one after the other"}},
	Trials: func(s experiment.Scale) []experiment.Trial {
		return []experiment.Trial{{Times: experiment.Of(s, 7, 20, 50), Cost: 200 * time.Millisecond, Before: fresh, Take: take}}
	},
}

func fresh(ctx context.Context, lab experiment.Lab, all []experiment.Subject) error {
	return lab.Fresh(ctx, all...)
}

func take(ctx context.Context, lab experiment.Lab, s experiment.Subject) ([]record.Sample, error) {
	result := load.Once(ctx, experiment.Hello(lab, s, experiment.Fresh))
	if result.Failure != nil {
		failed := experiment.Latency("", result)
		failed.Metric = "request"
		return []record.Sample{failed}, nil
	}
	instances, err := lab.Instances(ctx, s, experiment.Fresh)
	if err != nil {
		return nil, err
	}
	if len(instances) != 1 || len(instances[0].Phases) == 0 {
		return nil, fmt.Errorf("%d instances instead of one with a trace", len(instances))
	}
	rest := experiment.Milliseconds(result.Latency)
	var samples []record.Sample
	for _, p := range instances[0].Phases {
		ms := p.Seconds * 1e3
		rest -= ms
		samples = append(samples, sample(p.Name, ms, result.Began))
	}
	return append(samples, sample("request", rest, result.Began)), nil
}

func sample(phase string, ms float64, at time.Time) record.Sample {
	s := experiment.Sample("", "ms", ms)
	s.Metric, s.At = phase, at
	return s
}
