// Package stability counts what goes wrong when nothing should.
package stability

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/load"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// Experiment has a sample for each request. The paper reports this in words.
// Failures under many connections are those of network-requests.
var Experiment = experiment.Experiment{
	Name:  "stability",
	About: "failures of cold starts one after the other, and of a warm instance that is asked after random pauses",
	Trials: func(s experiment.Scale) []experiment.Trial {
		return []experiment.Trial{
			{
				Parameters: "kind=cold-starts", Times: experiment.Of(s, 1, 10, 40), Cost: time.Duration(perTrial(s)) * 200 * time.Millisecond,
				Take: func(ctx context.Context, lab experiment.Lab, sub experiment.Subject) ([]record.Sample, error) {
					return starts(ctx, lab, sub, perTrial(s))
				},
			},
			{
				Parameters: "kind=soak", Times: 1, Cost: soakFor(s),
				Take: func(ctx context.Context, lab experiment.Lab, sub experiment.Subject) ([]record.Sample, error) {
					results := load.Soak(ctx, experiment.Hello(lab, sub, experiment.Warm), soakFor(s), pauses())
					return experiment.Latencies("kind=soak", results), ctx.Err()
				},
			},
		}
	},
}

func perTrial(s experiment.Scale) int { return experiment.Of(s, 10, 20, 25) }

func soakFor(s experiment.Scale) time.Duration {
	return experiment.Of(s, time.Second, 30*time.Second, 5*time.Minute)
}

// starts makes cold starts one after the other, each of them on its own: one
// that fails does not hold up the next.
func starts(ctx context.Context, lab experiment.Lab, s experiment.Subject, n int) ([]record.Sample, error) {
	var gone error
	samples, err := experiment.Starts(ctx, lab, s, "kind=cold-starts", func() []load.Result {
		var results []load.Result
		for range n {
			results = append(results, load.Once(ctx, experiment.Hello(lab, s, experiment.Single)))
			if gone = lab.Gone(ctx, s, experiment.Single); gone != nil {
				break
			}
		}
		return results
	})
	return samples, errors.Join(err, gone)
}

// pauses are between nothing and a twentieth of a second, the same in every
// run.
func pauses() func() time.Duration {
	random := rand.New(rand.NewPCG(1, 2))
	return func() time.Duration { return time.Duration(random.Int64N(int64(50 * time.Millisecond))) }
}
