// Package warm measures requests to an instance that is there, while others
// are there that idle.
package warm

import (
	"context"
	"fmt"
	"time"

	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/load"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// Experiment is the paper's "warm", but for the way straight to the instance,
// which is not open. The metric "open loop" is of requests that are sent at a
// constant rate, counted from when each was due: there a pause delays all
// requests that it meets, where a closed loop delays one and waits.
var Experiment = experiment.Experiment{
	Name:  "warm",
	About: "the latency of requests to a warm instance, with others alive and idle: one after the other, and at a constant rate",
	Charts: []experiment.Chart{
		{Title: "Warm instance: one request after the other", Axis: "latency", Log: true},
		{Name: "open", Title: "Warm instance: requests at a constant rate, from when each was due", Metric: "open loop", Axis: "latency", Log: true},
	},
	Trials: func(s experiment.Scale) []experiment.Trial {
		others := experiment.Of(s, 1, 50, 50)
		requests := experiment.Of(s, 200, 1000, 1000)
		return []experiment.Trial{{
			Parameters: "kind=faas", Times: 1, Cost: time.Duration(others)*100*time.Millisecond + openFor(s) + 600*time.Millisecond,
			Take: func(ctx context.Context, lab experiment.Lab, sub experiment.Subject) ([]record.Sample, error) {
				if !lab.Inside() { // what else runs there is not ours to say
					return take(ctx, lab, sub, requests, openFor(s))
				}
				if err := experiment.Keep(ctx, lab, sub, others); err != nil {
					return nil, err
				}
				samples, err := take(ctx, lab, sub, requests, openFor(s))
				if err != nil {
					return nil, err
				}
				return samples, experiment.Keep(ctx, lab, sub, 0)
			},
		}}
	},
}

// rate is that of the open loop, in requests a second: far below what any
// sandbox can do.
const rate = 100

// warmUp is how many requests go before, which are not counted.
const warmUp = 20

func openFor(s experiment.Scale) time.Duration {
	return experiment.Of(s, 500*time.Millisecond, 10*time.Second, 10*time.Second)
}

func take(ctx context.Context, lab experiment.Lab, s experiment.Subject, requests int, open time.Duration) ([]record.Sample, error) {
	hello := experiment.Hello(lab, s, experiment.Warm)
	if r := load.Closed(ctx, hello, 1, warmUp); r.Failed() == warmUp {
		return nil, fmt.Errorf("none of %d requests was answered: %s", warmUp, r.Results[0].Failure.Text)
	}
	samples := experiment.Latencies("kind=faas", load.Closed(ctx, hello, 1, requests).Results)
	for _, sample := range experiment.Latencies("kind=faas", load.Open(ctx, hello, rate, open).Results) {
		sample.Metric = "open loop"
		samples = append(samples, sample)
	}
	return samples, nil
}
