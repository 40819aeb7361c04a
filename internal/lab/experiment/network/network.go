// Package network measures how many requests and how many bytes come through
// to a warm instance.
package network

import (
	"context"
	"fmt"
	"time"

	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/load"
	"github.com/unifaas/unifaas/internal/lab/record"
	"github.com/unifaas/unifaas/internal/lab/workload"
)

// Requests is the paper's "network-requests", but through the platform. A
// sandbox's series ends with the first number of connections at which more
// than one request in a hundred fails.
var Requests = experiment.Experiment{
	Name: "network-requests", Languages: []string{workload.Go},
	Charts: []experiment.Chart{{Title: "Requests a second to one warm instance", Form: experiment.Curve, Along: "connections", Axis: "requests a second", Log: true}},
	About:  "requests a second to one warm instance over 1, 2, 4 .. connections, until they fail",
	Trials: func(s experiment.Scale) []experiment.Trial {
		connections := experiment.Of(s, []int{1, 4, 16, 64, 256}, powers(), powers())
		requests := experiment.Of(s, 1000, 8192, 32768)
		return []experiment.Trial{{
			Times: 1, Cost: experiment.Of(s, 800*time.Millisecond, 20*time.Second, time.Minute),
			Take: func(ctx context.Context, lab experiment.Lab, sub experiment.Subject) ([]record.Sample, error) {
				return sweep(ctx, lab, sub, connections, requests)
			},
		}}
	},
}

func powers() []int {
	var all []int
	for n := 1; n <= 4096; n *= 2 {
		all = append(all, n)
	}
	return all
}

func sweep(ctx context.Context, lab experiment.Lab, s experiment.Subject, connections []int, requests int) ([]record.Sample, error) {
	var samples []record.Sample
	for _, p := range load.Sweep(ctx, experiment.Hello(lab, s, experiment.Warm), connections, requests) {
		sample := experiment.Sample(fmt.Sprintf("connections=%d", p.Connections), "requests/s", p.Rate)
		sample.At = p.Began
		if len(p.Failures) > 0 {
			failures := sample
			failures.Metric, failures.Unit, failures.Value = "failures", "requests", float64(len(p.Failures))
			samples = append(samples, failures)
		}
		if p.Broken {
			sample.Failure = p.Failures[0]
		}
		samples = append(samples, sample)
	}
	return samples, ctx.Err()
}

// Throughput is the paper's "network-throughput", but through the platform.
var Throughput = experiment.Experiment{
	Name: "network-throughput", Languages: []string{workload.Go},
	Charts: []experiment.Chart{{Title: "Fetching 50 MiB many times over 4 connections", Form: experiment.Amounts, Axis: "time"}},
	About:  "seconds to fetch 50 MiB many times over 4 connections from one warm instance",
	Trials: func(s experiment.Scale) []experiment.Trial {
		const connections, size = 4, 50 << 20
		times := experiment.Of(s, 8, 40, 204)
		parameters := fmt.Sprintf("requests=%d;connections=%d;file=50MiB", times, connections)
		return []experiment.Trial{{
			Parameters: parameters, Times: experiment.Of(s, 1, 5, 10), Cost: time.Duration(times) * 60 * time.Millisecond,
			Take: func(ctx context.Context, lab experiment.Lab, sub experiment.Subject) ([]record.Sample, error) {
				request := load.Request{
					URL: lab.URL(sub, experiment.Warm, fmt.Sprintf("/static?size=%d", size)), Size: size, Timeout: experiment.Timeout,
				}
				d := load.Download(ctx, request, connections, times)
				sample := experiment.Sample(parameters, "s", d.Took.Seconds())
				sample.Failure, sample.At = d.Failure, d.Began
				return []record.Sample{sample}, ctx.Err()
			},
		}}
	},
}
