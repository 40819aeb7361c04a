// Package idlememory measures what idle instances take of the machine's
// memory: as the paper did, by how much less is available (free pages on the
// lists of processors counted in), and by the proportional size of their
// processes.
package idlememory

import (
	"context"
	"fmt"
	"time"

	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/measure"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// Experiment is the paper's "idle-memory". The metric "pss" is of all
// processes that came with the instances, for one instance, and "pss NAME" of
// those of one name: the function, its monitor, its shim.
var Experiment = experiment.Experiment{
	Name:  "idle-memory",
	About: "drop of MemAvailable with N idle instances, and the proportional size of their processes for one instance",
	Trials: func(s experiment.Scale) []experiment.Trial {
		settle := experiment.Of(s, 700*time.Millisecond, 2*time.Second, 5*time.Second)
		tens := []int{10, 20, 30, 40, 50, 60, 70, 80, 90, 100}
		var trials []experiment.Trial
		for _, n := range experiment.Of(s, []int{10}, tens, tens) {
			trials = append(trials, trial(n, settle))
		}
		return trials
	},
}

const mib = 1 << 20

func trial(n int, settle time.Duration) experiment.Trial {
	parameters := fmt.Sprintf("instances=%d", n)
	return experiment.Trial{
		Parameters: parameters, Times: 1, Cost: time.Duration(n)*100*time.Millisecond + 2*settle,
		Take: func(ctx context.Context, lab experiment.Lab, s experiment.Subject) ([]record.Sample, error) {
			if err := lab.Keep(ctx, s, 0); err != nil {
				return nil, err
			}
			before, err := look(lab, settle)
			if err != nil {
				return nil, err
			}
			if err := lab.Keep(ctx, s, n); err != nil {
				return nil, err
			}
			after, err := look(lab, settle)
			if err != nil {
				return nil, err
			}
			return compare(parameters, n, before, after), lab.Keep(ctx, s, 0)
		},
	}
}

// A state is the machine's memory and what its processes have of it.
type state struct {
	available int64
	processes map[int]measure.ProcessMemory
}

func look(lab experiment.Lab, settle time.Duration) (state, error) {
	time.Sleep(settle)
	available, err := measure.Available()
	if err != nil {
		return state{}, err
	}
	all, err := measure.Processes()
	st := state{available, map[int]measure.ProcessMemory{}}
	for _, p := range all {
		if !lab.Spare(p.Pid) {
			st.processes[p.Pid] = p
		}
	}
	return st, err
}

func compare(parameters string, n int, before, after state) []record.Sample {
	samples := []record.Sample{experiment.Sample(parameters, "MiB", float64(before.available-after.available)/mib)}
	var total int64
	byName := map[string]int64{}
	var names []string
	for pid, p := range after.processes {
		if _, old := before.processes[pid]; old {
			continue
		}
		if byName[p.Name] == 0 {
			names = append(names, p.Name)
		}
		byName[p.Name] += p.PSS
		total += p.PSS
	}
	add := func(metric string, bytes int64) {
		s := experiment.Sample(parameters, "MiB", float64(bytes)/mib/float64(n))
		s.Metric = metric
		samples = append(samples, s)
	}
	add("pss", total)
	for _, name := range names {
		add("pss "+name, byName[name])
	}
	return samples
}
