// Package idlememory measures what idle instances take of the machine's
// memory: as the paper did, by how much less is available (free pages on the
// lists of processors counted in), and by the proportional size of their
// processes.
package idlememory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/measure"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// Experiment is the paper's "idle-memory". The metric "drift" is by how much the
// rest of the machine moved meanwhile, "available" is the drop for one instance, "pss" is of all processes that came with the instances, for
// one instance, and "pss NAME" of those of one name: the function, its monitor,
// its shim.
var Experiment = experiment.Experiment{
	Name:   "idle-memory",
	Inside: true,
	About:  "drop of MemAvailable with N idle instances, and the proportional size of their processes for one instance",
	Charts: []experiment.Chart{
		{Title: "Memory of idle instances: drop of what is available", Form: experiment.Curve, Along: "instances", Axis: "memory of all", Log: true},
		{
			Name: "processes", Title: "Memory of one idle instance, by process", Form: experiment.Stack, Metric: "pss ", Beside: "available",
			Axis: "proportional set size of its processes; mark: drop of available memory",
		},
	},
	Trials: func(s experiment.Scale) []experiment.Trial {
		settle := experiment.Of(s, 120*time.Millisecond, 2*time.Second, 5*time.Second)
		tens := []int{10, 20, 30, 40, 50, 60, 70, 80, 90, 100}
		var trials []experiment.Trial
		rest := new(rest)
		for _, n := range experiment.Of(s, []int{5}, tens, tens) {
			trials = append(trials, trial(n, settle, experiment.Of(s, 1, 3, 3), rest))
		}
		return trials
	},
}

const mib = 1 << 20

// trial starts n instances, and anew up to as many times as tries says because
// the rest of the machine's memory has moved meanwhile.
func trial(n int, settle time.Duration, tries int, rest *rest) experiment.Trial {
	parameters := fmt.Sprintf("instances=%d", n)
	return experiment.Trial{
		Parameters: parameters, Times: 1, Cost: time.Duration(n)*200*time.Millisecond + 3*settle,
		Take: func(ctx context.Context, lab experiment.Lab, s experiment.Subject) ([]record.Sample, error) {
			if err := experiment.Keep(ctx, lab, s, 0); err != nil {
				return nil, err
			}
			before, err := rest.look(settle)
			for try := 1; err == nil; try++ {
				var with, afterwards state
				if with, err = lookAt(ctx, lab, s, n, settle); err != nil {
					break
				}
				if afterwards, err = lookAt(ctx, lab, s, 0, settle); err != nil {
					break
				}
				d := difference{n: n, before: before, with: with, afterwards: afterwards}
				if try == tries || !d.moved() {
					rest.state, rest.seen = afterwards, time.Now()
					return d.samples(parameters, lab.Came(before.processes, with.processes)), nil
				}
				before = afterwards
			}
			return nil, err
		},
	}
}

// lookAt makes the subject have n instances and looks.
func lookAt(ctx context.Context, lab experiment.Lab, s experiment.Subject, n int, settle time.Duration) (state, error) {
	if err := experiment.Keep(ctx, lab, s, n); err != nil {
		return state{}, err
	}
	return look(settle)
}

// A state is the machine's memory and what its processes have of it.
type state struct {
	available int64
	processes []measure.ProcessMemory
}

// stillAtRest is how long what was seen of the machine is taken to hold.
const stillAtRest = time.Second

// A rest is the machine with no instances, as the trial before left it: the
// next one need not look again.
type rest struct {
	state
	seen time.Time
}

func (r *rest) look(settle time.Duration) (state, error) {
	if time.Since(r.seen) < stillAtRest {
		return r.state, nil
	}
	return look(settle)
}

// look waits until the machine's memory is at rest, for half of settle at
// least and three times that at most.
func look(settle time.Duration) (state, error) {
	time.Sleep(settle / 2)
	available, err := measure.Available()
	for begin, calm := time.Now(), 0; calm < 3 && err == nil && time.Since(begin) < settle*5/2; {
		time.Sleep(50 * time.Millisecond)
		before := available
		available, err = measure.Available()
		if calm++; max(available-before, before-available) > mib/2 {
			calm = 0
		}
	}
	if err != nil {
		return state{}, err
	}
	all, err := measure.Processes()
	return state{available, all}, err
}

// A difference is what n instances make of the machine.
type difference struct {
	n                        int
	before, with, afterwards state
}

// drop is by how much less is available with the instances than without, the
// mean of before and afterwards.
func (d difference) drop() int64 {
	return (d.before.available+d.afterwards.available)/2 - d.with.available
}

// drift is by how much the rest of the machine has moved.
func (d difference) drift() int64 { return d.before.available - d.afterwards.available }

// moved reports whether that spoils the drop: more than a tenth of it, and more
// than what any machine does.
func (d difference) moved() bool {
	drift := max(d.drift(), -d.drift())
	return drift > 4*mib && drift > max(d.drop(), -d.drop())/10
}

func (d difference) samples(parameters string, processes []measure.ProcessMemory) []record.Sample {
	doubt := ""
	if d.moved() {
		doubt = fmt.Sprintf("the rest of the machine's memory moved by %.0f MiB meanwhile", float64(d.drift())/mib)
	}
	var samples []record.Sample
	add := func(metric string, mebibytes float64) {
		s := experiment.Sample(parameters, "MiB", mebibytes)
		s.Metric = metric
		if metric == "" || metric == "available" {
			s.Doubt = doubt
		}
		samples = append(samples, s)
	}
	add("", float64(d.drop())/mib)
	var total int64
	byName := map[string]int64{}
	for _, p := range processes {
		byName[p.Name] += p.PSS
		total += p.PSS
	}
	each := func(bytes int64) float64 { return float64(bytes) / mib / float64(d.n) }
	add("drift", float64(d.drift())/mib)
	add("available", each(d.drop()))
	add("pss", each(total))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		add("pss "+name, each(byName[name]))
	}
	return samples
}
