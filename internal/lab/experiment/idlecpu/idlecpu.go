// Package idlecpu measures what an instance does while it idles.
package idlecpu

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/measure"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// Experiment is the paper's "idle-instructions". Where the machine has no
// counter of instructions, or does not let us have it, there are none of its
// first metric. "cpu" is processor time, "switches" are context switches, of
// all processes of one instance.
var Experiment = experiment.Experiment{
	Name:    "idle-cpu",
	Inside:  true,
	About:   "host instructions, processor time and context switches of one idle instance in a second",
	Lacking: "this machine has no counter of instructions, or does not let it be had (perf_event_open(2)): processor time and context switches are what there is",
	Charts: []experiment.Chart{
		{Title: "Idle instance: instructions of the host's processor", Axis: "instructions in a second", Log: true},
		{Name: "cpu", Title: "Idle instance: processor time", Metric: "cpu", Axis: "processor time in a second"},
		{Name: "switches", Title: "Idle instance: context switches", Metric: "switches", Axis: "context switches in a second"},
	},
	Trials: func(s experiment.Scale) []experiment.Trial {
		window := experiment.Of(s, time.Second/2, time.Second, time.Second)
		settle := experiment.Of(s, time.Second, 5*time.Second, 15*time.Second)
		windows := experiment.Of(s, 7, 30, 100)
		return []experiment.Trial{{
			Times: 1, Cost: settle + time.Duration(windows)*window,
			All: func(ctx context.Context, lab experiment.Lab, all []experiment.Subject) ([]record.Sample, error) {
				idle, err := begin(ctx, lab, all)
				if err == nil {
					err = pause(ctx, settle)
				}
				var samples []record.Sample
				for range windows {
					if err == nil {
						var more []record.Sample
						more, err = watch(ctx, idle, window)
						samples = append(samples, more...)
					}
				}
				return samples, errors.Join(err, end(ctx, lab, idle))
			},
		}}
	},
}

// An instance is one that idles.
type instance struct {
	subject experiment.Subject
	pids    []int
}

// begin starts an instance of each subject, one after the other: what comes
// with it is its processes.
func begin(ctx context.Context, lab experiment.Lab, all []experiment.Subject) ([]instance, error) {
	var idle []instance
	for _, s := range all {
		before, err := measure.Processes()
		if err != nil {
			return idle, err
		}
		if err := experiment.Keep(ctx, lab, s, 1); err != nil {
			continue // the other experiments tell of it
		}
		after, err := measure.Processes()
		if err != nil {
			return idle, err
		}
		i := instance{subject: s}
		for _, p := range lab.Came(before, after) {
			i.pids = append(i.pids, p.Pid)
		}
		if len(i.pids) == 0 {
			return idle, fmt.Errorf("an instance in %s has no process", s.Sandbox)
		}
		idle = append(idle, i)
	}
	return idle, nil
}

// watch measures all instances for some time.
func watch(ctx context.Context, idle []instance, window time.Duration) ([]record.Sample, error) {
	at := time.Now()
	counters := make([]*measure.Counter, len(idle))
	for i := range idle {
		counters[i] = measure.Count(idle[i].pids)
	}
	defer func() {
		for _, c := range counters {
			c.Close()
		}
	}()
	if err := pause(ctx, window); err != nil {
		return nil, err
	}
	var samples []record.Sample
	for i, c := range counters {
		u := c.Read()
		add := func(metric, unit string, value float64) {
			s := experiment.Sample("", unit, value/u.Over.Seconds())
			s.Metric, s.At, s.Sandbox, s.Language = metric, at, idle[i].subject.Sandbox, idle[i].subject.Language
			samples = append(samples, s)
		}
		if u.Counted {
			add("", "instructions/s", float64(u.Instructions))
		}
		add("cpu", "ms/s", experiment.Milliseconds(u.CPU))
		add("switches", "1/s", float64(u.Switches))
	}
	return samples, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func end(ctx context.Context, lab experiment.Lab, idle []instance) error {
	var errs []error
	for _, i := range idle {
		errs = append(errs, experiment.Keep(ctx, lab, i.subject, 0))
	}
	return errors.Join(errs...)
}
