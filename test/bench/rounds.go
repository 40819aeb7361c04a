package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/unifaas/unifaas/test/bench/measure"
)

// A contender is one of those that are measured in turn.
type contender struct {
	name string
	// run measures once. What it must do for that, and clears away after, is
	// its own and not in the value.
	run measurement
}

type measurement = func(ctx context.Context, round int) (float64, error)

// results are what came of measuring contenders, by their names.
type results struct {
	samples map[string]measure.Sample
	failed  map[string]error // after as many rounds as there are values
	absent  map[string]error // could not take part
}

// interleave measures all contenders n times: in each round each once, so that
// a machine that is busy for a while is so for all, and each round begins with
// another, so that none always follows the same. Who fails is left out of the
// rounds that follow.
func interleave(ctx context.Context, n int, contenders []contender) results {
	r := results{samples: map[string]measure.Sample{}, failed: map[string]error{}}
	order := slices.Clone(contenders)
	for round := range n {
		for _, c := range order {
			if r.failed[c.name] != nil {
				continue
			}
			v, err := c.run(ctx, round)
			if err != nil {
				r.failed[c.name] = fmt.Errorf("round %d: %s: %w", round+1, c.name, err)
				continue
			}
			r.samples[c.name] = append(r.samples[c.name], v)
		}
		if len(order) > 0 {
			order = append(order[1:], order[0])
		}
	}
	return r
}

// fit returns the contenders that have not failed.
func (r results) fit(contenders []contender) []contender {
	return slices.DeleteFunc(slices.Clone(contenders), func(c contender) bool { return r.failed[c.name] != nil })
}

// err returns all failures. To be absent is none.
func (r results) err() error {
	var errs []error
	for _, err := range r.failed {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// compare makes the row of ours and a rival. One that was not measured, or not
// to the end, makes it no comparison.
func (r results) compare(name, unit, ours string, with rival) measure.Row {
	why := r.why(ours, with.peer)
	if len(r.samples[ours]) == 0 || len(r.samples[with.peer]) == 0 {
		return measure.Missing(name, unit, with.peer, with.bound, why)
	}
	row := measure.Compare(name, unit, r.samples[ours], with.peer, r.samples[with.peer], with.bound)
	if why != "" {
		row = row.Invalid(why)
	}
	return row
}

// why says what is wrong with the first of these that something is wrong with.
func (r results) why(names ...string) string {
	for _, name := range names {
		if err := r.absent[name]; err != nil {
			return name + ": " + err.Error()
		}
		if err := r.failed[name]; err != nil {
			return err.Error()
		}
	}
	return ""
}
