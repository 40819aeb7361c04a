// Package stability counts what goes wrong when nothing should.
package stability

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/load"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// Experiment has a sample for each request. The paper reports this in words.
var Experiment = experiment.Experiment{
	Name:   "stability",
	About:  "failures of cold starts one after the other, of a warm instance under many connections, and of one that is asked after random pauses",
	Charts: []experiment.Chart{{Title: "Failures", Form: experiment.Failures, Axis: "failures in a thousand"}},
	Trials: func(s experiment.Scale) []experiment.Trial {
		return []experiment.Trial{
			{
				Parameters: "kind=cold-starts", Times: experiment.Of(s, 1, 10, 40), Cost: time.Duration(perTrial(s)) * 200 * time.Millisecond,
				Take: func(ctx context.Context, lab experiment.Lab, sub experiment.Subject) ([]record.Sample, error) {
					return starts(ctx, lab, sub, perTrial(s))
				},
			},
			{
				Parameters: "kind=connections", Times: experiment.Of(s, 1, 5, 10), Cost: 300 * time.Millisecond,
				Take: func(ctx context.Context, lab experiment.Lab, sub experiment.Subject) ([]record.Sample, error) {
					n := experiment.Of(s, 256, 1024, 4096)
					results := load.Closed(ctx, experiment.Hello(lab, sub, experiment.Warm), n, 4*n).Results
					return after(ctx, lab, sub, "kind=connections", results)
				},
			},
			{
				Parameters: "kind=soak", Times: 1, Cost: soakFor(s),
				All: func(ctx context.Context, lab experiment.Lab, all []experiment.Subject) ([]record.Sample, error) {
					return soak(ctx, lab, all, soakFor(s))
				},
			},
		}
	},
}

func perTrial(s experiment.Scale) int { return experiment.Of(s, 4, 20, 25) }

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

// soak asks a warm instance of each subject after random pauses, all of them
// meanwhile: it is failures that are looked for, not times.
func soak(ctx context.Context, lab experiment.Lab, all []experiment.Subject, d time.Duration) ([]record.Sample, error) {
	samples := make([][]record.Sample, len(all))
	var g errgroup.Group
	for i, s := range all {
		g.Go(func() (err error) {
			results := load.Soak(ctx, experiment.Hello(lab, s, experiment.Warm), d, pauses())
			samples[i], err = after(ctx, lab, s, "kind=soak", results)
			for j := range samples[i] {
				samples[i][j].Sandbox, samples[i][j].Language = s.Sandbox, s.Language
			}
			return err
		})
	}
	err := g.Wait()
	return slices.Concat(samples...), err
}

// after returns the samples of requests to a warm instance, and, where some
// failed, of one more: an instance that answers no more is wedged.
func after(ctx context.Context, lab experiment.Lab, s experiment.Subject, parameters string, results []load.Result) ([]record.Sample, error) {
	samples := experiment.Latencies(parameters, results)
	failed := func(s record.Sample) bool { return s.Failure != nil }
	if ctx.Err() != nil || !slices.ContainsFunc(samples, failed) {
		return samples, ctx.Err()
	}
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
	last := experiment.Latency(parameters, load.Once(ctx, experiment.Hello(lab, s, experiment.Warm)))
	if last.Failure != nil {
		last.Failure.Class = record.Wedged
	}
	return append(samples, last), ctx.Err()
}

// pauses are between nothing and a twentieth of a second, the same in every
// run.
func pauses() func() time.Duration {
	random := rand.New(rand.NewPCG(1, 2))
	return func() time.Duration { return time.Duration(random.Int64N(int64(50 * time.Millisecond))) }
}
