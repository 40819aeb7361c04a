package run

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/measure"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// maxErrors is after how many trials in a row that could not be taken a
// subject is given up in an experiment.
const maxErrors = 3

// A step is one trial of one subject, or of all.
type step struct {
	name       string
	experiment *experiment.Experiment
	trial      experiment.Trial
	subject    experiment.Subject // zero where the trial is of all
}

// plan returns the steps in their order. Within an experiment each round asks
// every subject once, in an order of its own: what changes on the machine
// meanwhile meets all of them alike. The order is the same in a run that goes
// on.
func (r *runner) plan() []step {
	var steps []step
	random := rand.New(rand.NewPCG(1, 1))
	for i := range r.experiments {
		e := &r.experiments[i]
		subjects := slices.DeleteFunc(slices.Clone(r.subjects), func(s experiment.Subject) bool {
			return e.Languages != nil && !slices.Contains(e.Languages, s.Language)
		})
		trials := e.Trials(r.Scale)
		rounds := 0
		for _, t := range trials {
			rounds = max(rounds, t.Times)
		}
		for round := range rounds {
			for _, t := range trials {
				if round >= t.Times {
					continue
				}
				if t.All != nil {
					steps = append(steps, step{stepName(e, t, "all", round), e, t, experiment.Subject{}})
					continue
				}
				random.Shuffle(len(subjects), func(a, b int) { subjects[a], subjects[b] = subjects[b], subjects[a] })
				for _, s := range subjects {
					steps = append(steps, step{stepName(e, t, s.Sandbox+" "+s.Language, round), e, t, s})
				}
			}
		}
	}
	return steps
}

func stepName(e *experiment.Experiment, t experiment.Trial, subject string, round int) string {
	return fmt.Sprintf("%s %s %s #%d", e.Name, t.Parameters, subject, round)
}

// A Progress is where a run is.
type Progress struct {
	Step       string
	Done, All  int
	Left       time.Duration // about
	Experiment string
}

// takeAll takes what has not been taken.
func (r *runner) takeAll(ctx context.Context) error {
	steps := slices.DeleteFunc(r.plan(), func(s step) bool { return r.journal.Has(s.name) })
	errorsOf := map[string]int{} // in a row, by experiment and subject
	clock := newClock(steps)
	for i, s := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		who := s.experiment.Name + " " + s.subject.Sandbox + " " + s.subject.Language
		if errorsOf[who] >= maxErrors {
			clock.skip(s)
			continue
		}
		if r.Progress != nil {
			r.Progress(Progress{Step: s.name, Experiment: s.experiment.Name, Done: i, All: len(steps), Left: clock.left()})
		}
		err := r.take(ctx, s)
		clock.took(s)
		if fatal := (*diskError)(nil); errors.As(err, &fatal) || ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		if err == nil {
			errorsOf[who] = 0
			continue
		}
		if errorsOf[who]++; errorsOf[who] == maxErrors || s.trial.Times == 1 {
			r.miss(s.experiment.Name, s.subject.Sandbox, err.Error())
		}
	}
	return nil
}

// diskError is one that ends the run: samples can't be kept.
type diskError struct{ error }

// take takes one step and keeps its samples. What fails is kept, too: a trial
// that could not be taken is a failure of the sandbox as far as anybody can
// tell.
func (r *runner) take(ctx context.Context, s step) error {
	machineLoad, err := measure.LoadAverage()
	if err != nil {
		return err
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, stepTimeout(s.trial))
	defer cancel()
	var samples []record.Sample
	if s.trial.All != nil {
		samples, err = s.trial.All(ctx, r.lab, r.subjects)
	} else {
		samples, err = s.trial.Take(ctx, r.lab, s.subject)
	}
	for i := range samples {
		complete(&samples[i], s, began, machineLoad)
	}
	if ctx.Err() != nil || len(samples) == 0 && err != nil {
		return errors.Join(err, ctx.Err())
	}
	if writeErr := r.journal.Append(s.name, samples); writeErr != nil {
		return &diskError{writeErr}
	}
	return err
}

// stepTimeout bounds a step, so that a sandbox that hangs does not hold up the
// others: many times what it should take.
func stepTimeout(t experiment.Trial) time.Duration { return 5*time.Minute + 20*t.Cost }

func complete(sample *record.Sample, s step, began time.Time, load float64) {
	sample.Experiment, sample.Load = s.experiment.Name, load
	if s.trial.All == nil {
		sample.Sandbox, sample.Language = s.subject.Sandbox, s.subject.Language
	}
	if sample.At.IsZero() {
		sample.At = began
	}
}

// A clock tells how much time is left, by how long steps took beside what they
// were said to take.
type clock struct {
	ahead time.Duration // cost of the steps that are left
	said  time.Duration // cost of those that were taken
	begin time.Time
}

func newClock(steps []step) *clock {
	c := &clock{begin: time.Now()}
	for _, s := range steps {
		c.ahead += s.trial.Cost
	}
	return c
}

func (c *clock) skip(s step) { c.ahead -= s.trial.Cost }

func (c *clock) took(s step) { c.ahead, c.said = c.ahead-s.trial.Cost, c.said+s.trial.Cost }

func (c *clock) left() time.Duration {
	if c.said < time.Second {
		return c.ahead
	}
	return time.Duration(float64(c.ahead) * float64(time.Since(c.begin)) / float64(c.said)).Round(time.Second)
}
