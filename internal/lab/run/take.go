package run

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/measure"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// maxErrors is after how many trials in a row that could not be taken a
// subject is given up in an experiment.
const maxErrors = 3

// emulatedRounds is how often a quick run takes a trial of a sandbox whose
// guests are emulated: its figures say that these are too few.
const emulatedRounds = 2

// A step is one trial of one subject, or of all.
type step struct {
	name       string
	experiment *experiment.Experiment
	trial      experiment.Trial
	subject    experiment.Subject // zero where the trial is of all
	round      *round
	first      bool // of its subject in the experiment
}

// A round asks every subject once.
type round struct {
	number   int
	subjects []experiment.Subject
	begun    bool // what goes before it was done
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
		for n := range rounds {
			for i, t := range trials {
				if n >= t.Times {
					continue
				}
				if t.All != nil {
					steps = append(steps, step{stepName(e, t, "all", n), e, t, experiment.Subject{}, &round{number: n}, n == 0})
					continue
				}
				random.Shuffle(len(subjects), func(a, b int) { subjects[a], subjects[b] = subjects[b], subjects[a] })
				this := &round{number: n, subjects: slices.Clone(subjects)}
				for _, s := range subjects {
					if n >= emulatedRounds && r.Scale == experiment.Quick && r.emulated[s] {
						continue
					}
					steps = append(steps, step{stepName(e, t, s.Sandbox+" "+s.Language, n), e, t, s, this, n == 0 && i == 0})
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
	clock := newClock(steps, r.began, r.budget())
	defer func() { r.facts.Missing = append(append(r.facts.Missing, clock.leftOut()...), r.lacking()...) }()
	for i, s := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		who := s.experiment.Name + " " + s.subject.Sandbox + " " + s.subject.Language
		if errorsOf[who] >= maxErrors || clock.late(s) {
			clock.skip(s)
			continue
		}
		if r.Progress != nil {
			r.Progress(Progress{Step: s.name, Experiment: s.experiment.Name, Done: i, All: len(steps), Left: clock.left()})
		}
		began := time.Now()
		err := r.take(ctx, s)
		clock.took(s, time.Since(began))
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

// lacking says of which experiments the first metric could not be measured.
func (r *runner) lacking() []record.Missing {
	any, first := map[string]bool{}, map[string]bool{}
	for _, s := range r.journal.Samples() {
		any[s.Experiment] = true
		first[s.Experiment] = first[s.Experiment] || s.Metric == ""
	}
	var all []record.Missing
	for _, e := range r.experiments {
		if e.Lacking != "" && any[e.Name] && !first[e.Name] {
			all = append(all, record.Missing{Experiment: e.Name, Reason: e.Lacking})
		}
	}
	return all
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
	if err := r.before(ctx, s); err != nil {
		return err
	}
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
		return &diskError{faas.Errorf(faas.KindInternal, "%w; what was measured before is kept, and the same command goes on there", writeErr)}
	}
	return errors.Join(err, allFailed(samples))
}

// allFailed is an error where every one of some samples is a failure, so that
// a sandbox that does nothing else is given up.
func allFailed(samples []record.Sample) error {
	failed := 0
	var last *record.Failure
	for _, s := range samples {
		switch {
		case s.Failure != nil:
			failed, last = failed+1, s.Failure
		case s.Metric == "":
			return nil
		}
	}
	if last == nil {
		return nil
	}
	return fmt.Errorf("all of %d requests failed, for instance: %s", failed, last.Text)
}

// before does what goes before a round, once.
func (r *runner) before(ctx context.Context, s step) error {
	if s.trial.Before == nil || s.round.begun {
		return nil
	}
	if err := s.trial.Before(ctx, r.lab, s.round.subjects); err != nil {
		return err
	}
	s.round.begun = true
	return nil
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
