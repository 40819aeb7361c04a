package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/unifaas/unifaas/test/bench/measure"
)

// A contender is one of those that are measured in turn.
type contender struct {
	name string
	// run measures once. What it must do for that, and clears away after, is
	// its own and not in the value.
	run func(ctx context.Context, round int) (float64, error)
}

// interleave measures all contenders n times: in each round each once, so that
// a machine that is busy for a while is so for all, and each round begins with
// another, so that none always follows the same.
func interleave(ctx context.Context, n int, contenders []contender) (map[string]measure.Sample, error) {
	samples := map[string]measure.Sample{}
	order := slices.Clone(contenders)
	for round := range n {
		for _, c := range order {
			v, err := c.run(ctx, round)
			if err != nil {
				return samples, fmt.Errorf("round %d: %s: %w", round+1, c.name, err)
			}
			samples[c.name] = append(samples[c.name], v)
		}
		order = append(order[1:], order[0])
	}
	return samples, nil
}
