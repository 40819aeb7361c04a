package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/load"
	"github.com/unifaas/unifaas/internal/lab/measure"
	"github.com/unifaas/unifaas/internal/lab/record"
	"github.com/unifaas/unifaas/internal/lab/stat"
)

// Files in a run's folder, beside the samples.
const (
	factsName    = "run.json"
	platformName = "platform"
)

// facts are what is known of a run beside its samples.
type facts struct {
	Settings string           `json:"settings"` // what a run that goes on must have, too
	Command  string           `json:"command"`  // without its folder and experiments
	Host     record.Host      `json:"host"`
	Missing  []record.Missing `json:"missing,omitempty"`
}

// A runner carries one run out.
type runner struct {
	Options
	experiments []experiment.Experiment
	facts       facts
	journal     *record.Journal
	lab         experiment.Lab
	subjects    []experiment.Subject // that answer, in their order
	left        []record.Missing     // experiments that a target leaves out
	began       time.Time
	emulated    map[experiment.Subject]bool
}

// Run measures and returns the run with all that its folder has. When ctx ends
// it returns what there is with ctx's error; called again with the same
// options it goes on.
func Run(ctx context.Context, o Options) (_ *record.Run, err error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	r := &runner{Options: o, began: time.Now(), emulated: map[experiment.Subject]bool{}}
	if r.experiments, err = o.chosen(); err != nil {
		return nil, err
	}
	if o.Target != "" {
		r.leaveOutInside()
	}
	if r.journal, err = record.Open(o.Output); err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "the run's folder can't be used: %w", err)
	}
	defer func() { err = errors.Join(err, r.journal.Close()) }()
	if err := r.begin(); err != nil {
		return nil, err
	}
	if o.Target != "" {
		err = r.measureTarget(ctx)
	} else {
		err = r.measureOwn(ctx)
	}
	return r.result(), errors.Join(err, r.keepFacts())
}

// Load returns what a run's folder has.
func Load(dir string) (*record.Run, error) {
	f, err := loadFacts(dir)
	if err != nil {
		return nil, err
	}
	samples, err := record.Load(dir)
	if err != nil {
		return nil, err
	}
	return assemble(dir, f, samples), nil
}

func assemble(dir string, f facts, samples []record.Sample) *record.Run {
	return &record.Run{
		Name: filepath.Base(dir), Host: f.Host, Missing: f.Missing, Command: f.Command,
		Summaries: stat.Summarize(samples, stat.Options{Cores: f.Host.Cores}),
	}
}

func (r *runner) result() *record.Run { return assemble(r.Output, r.facts, r.journal.Samples()) }

func loadFacts(dir string) (f facts, err error) {
	text, err := os.ReadFile(filepath.Join(dir, factsName))
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return f, fmt.Errorf("read %q: %w", filepath.Join(dir, factsName), err)
	}
	return f, nil
}

// begin takes up the facts of a run that goes on, or finds them out.
func (r *runner) begin() error {
	old, err := loadFacts(r.Output)
	switch {
	case errors.Is(err, os.ErrNotExist):
		r.facts = facts{Settings: r.settings(), Command: r.command(), Host: measure.HostFacts(), Missing: r.left}
		r.facts.Host.Began, r.facts.Host.Platform, r.facts.Host.Target = time.Now(), r.Version, r.Target
		return r.keepFacts()
	case err != nil:
		return err
	case old.Settings != r.settings():
		return faas.Errorf(faas.KindInvalid, "folder %q holds a run with other settings (%s); choose another --output, or remove it", r.Output, old.Settings)
	}
	r.facts = old
	r.facts.Missing = r.left // all else is found out again
	return nil
}

func (r *runner) keepFacts() error {
	text, err := json.MarshalIndent(r.facts, "", "  ")
	if err != nil {
		return err
	}
	next := filepath.Join(r.Output, factsName+".new")
	if err := os.WriteFile(next, append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(r.Output, factsName))
}

func (r *runner) miss(experiment, sandbox, reason string) {
	r.facts.Missing = append(r.facts.Missing, record.Missing{Experiment: experiment, Sandbox: sandbox, Reason: reason})
}

// whyNot tells of all that is missing.
func (r *runner) whyNot() string {
	var reasons []string
	for _, m := range r.facts.Missing {
		reasons = append(reasons, m.Sandbox+": "+m.Reason)
	}
	return strings.Join(reasons, "; ")
}

// warmUp asks each subject once, and gives up those that do not answer: what
// is prepared once for a revision is not a part of any start.
func (r *runner) warmUp(ctx context.Context) {
	var answer []experiment.Subject
	for _, s := range r.subjects {
		if ctx.Err() != nil {
			return
		}
		result := load.Once(ctx, experiment.Hello(r.lab, s, experiment.Single))
		if result.Failure != nil {
			r.miss("", s.Sandbox, s.Language+": "+result.Failure.Text)
			continue
		}
		answer = append(answer, s)
	}
	r.subjects = answer
}
