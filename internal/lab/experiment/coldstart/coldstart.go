// Package coldstart measures one request to a function that has no instance,
// through the platform, until the last byte of its response.
package coldstart

import (
	"context"
	"time"

	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/load"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// Experiment is the paper's "cold-start". What is prepared once for a revision
// (the image, what a driver makes of it) has been prepared before.
var Experiment = experiment.Experiment{
	Name:   "cold-start",
	About:  "one request to a function with no instance, through the platform, a fresh instance each time",
	Charts: []experiment.Chart{{Title: "Cold start: one request to a function with no instance", Axis: "latency", Log: true}},
	Trials: func(s experiment.Scale) []experiment.Trial {
		return []experiment.Trial{{Times: experiment.Of(s, 7, 30, 100), Cost: 180 * time.Millisecond, Take: take}}
	},
}

func take(ctx context.Context, lab experiment.Lab, s experiment.Subject) ([]record.Sample, error) {
	return experiment.Starts(ctx, lab, s, "", func() []load.Result {
		return []load.Result{load.Once(ctx, experiment.Hello(lab, s, experiment.Single))}
	})
}
