// Package burst measures requests that come at once and each need an instance
// of its own.
package burst

import (
	"context"
	"fmt"
	"time"

	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/load"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// Experiment is the paper's "burst".
var Experiment = experiment.Experiment{
	Name:  "burst",
	About: "the latency of each of N requests that come at once, each of which needs an instance of its own",
	Charts: []experiment.Chart{{
		Title: "Burst: N requests at once, each with an instance of its own", Form: experiment.Curve, Along: "instances", Axis: "latency", Log: true,
	}},
	Trials: func(s experiment.Scale) []experiment.Trial {
		var trials []experiment.Trial
		for _, n := range experiment.Of(s, []int{5, 10}, tens(), tens()) {
			trials = append(trials, trial(n))
		}
		return trials
	},
}

func tens() []int { return []int{10, 20, 30, 40, 50, 60, 70, 80, 90, 100} }

func trial(n int) experiment.Trial {
	parameters := fmt.Sprintf("instances=%d", n)
	return experiment.Trial{
		Parameters: parameters, Times: 1, Cost: time.Duration(n) * 110 * time.Millisecond,
		Take: func(ctx context.Context, lab experiment.Lab, s experiment.Subject) ([]record.Sample, error) {
			return experiment.Starts(ctx, lab, s, parameters, func() []load.Result {
				return load.Burst(ctx, experiment.Hello(lab, s, experiment.Single), n)
			})
		},
	}
}
