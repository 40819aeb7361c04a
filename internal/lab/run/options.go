// Package run carries experiments out: it starts a platform, serves what is
// measured, takes the trials in an interleaved order, and keeps every sample.
// A run that was interrupted goes on where it was.
package run

import (
	"fmt"
	"slices"
	"strings"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/experiment/all"
	"github.com/unifaas/unifaas/internal/lab/workload"
)

// Options say what a run measures.
type Options struct {
	// Output is the run's folder, made if need be.
	Output string
	// Exe is the platform's program.
	Exe string
	// Env is added to the platform's environment.
	Env []string
	// Version is the platform's.
	Version string
	Scale   experiment.Scale
	// Experiments, Sandboxes and Languages choose; empty is all. A sandbox is
	// named as in samples ("docker-runsc") or as in function.toml ("docker").
	Experiments []string
	Sandboxes   []string
	Languages   []string
	// Target is the address of a platform that runs already, "http://host:port";
	// "" has the run start one of its own.
	Target string
	// Program is the Go function, where it is not the one in this build.
	Program []byte
	// Progress is told of each step before it is taken; nil is allowed.
	Progress func(Progress)
}

// chosen returns the experiments that were asked for.
func (o *Options) chosen() ([]experiment.Experiment, error) {
	every := all.Experiments()
	if len(o.Experiments) == 0 {
		return every, nil
	}
	var names []string
	for _, e := range every {
		names = append(names, e.Name)
	}
	for _, name := range o.Experiments {
		if !slices.Contains(names, name) {
			return nil, faas.Errorf(faas.KindInvalid, "no experiment %q; there are %s", name, strings.Join(names, ", "))
		}
	}
	return slices.DeleteFunc(every, func(e experiment.Experiment) bool { return !slices.Contains(o.Experiments, e.Name) }), nil
}

func (o *Options) validate() error {
	if o.Output == "" {
		return faas.Errorf(faas.KindInvalid, "a run needs a folder; write --output DIR")
	}
	if o.Target != "" {
		o.Target = strings.TrimSuffix(o.Target, "/")
		if err := checkTarget(o.Target); err != nil {
			return err
		}
	}
	for _, l := range o.Languages {
		if !slices.Contains(workload.Languages, l) {
			return faas.Errorf(faas.KindInvalid, "no functions in %q; there are %s", l, strings.Join(workload.Languages, ", "))
		}
	}
	return nil
}

func (o *Options) wantedLanguages() []string {
	if len(o.Languages) == 0 {
		return workload.Languages
	}
	return slices.DeleteFunc(slices.Clone(workload.Languages), func(l string) bool { return !slices.Contains(o.Languages, l) })
}

func (o *Options) wantsSandbox(kind, name string) bool {
	return len(o.Sandboxes) == 0 || slices.Contains(o.Sandboxes, name) || slices.Contains(o.Sandboxes, kind)
}

// command is what a user enters for such a run, but for its folder and its
// experiments.
func (o *Options) command() string {
	words := []string{"unifaas lab run"}
	if flag := experiment.Of(o.Scale, "--quick", "", "--paper"); flag != "" {
		words = append(words, flag)
	}
	if o.Target != "" {
		words = append(words, "--target "+o.Target)
	}
	if len(o.Sandboxes) > 0 {
		words = append(words, "--sandboxes "+strings.Join(o.Sandboxes, ","))
	}
	if len(o.Languages) > 0 {
		words = append(words, "--languages "+strings.Join(o.Languages, ","))
	}
	return strings.Join(words, " ")
}

// settings are what must be the same when a run goes on.
func (o *Options) settings() string {
	s := fmt.Sprintf("scale %d, experiments %v, sandboxes %v, languages %v", o.Scale, o.Experiments, o.Sandboxes, o.Languages)
	if o.Target != "" {
		s += ", target " + o.Target
	}
	return s
}
