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
	"github.com/unifaas/unifaas/internal/lab/platform"
	"github.com/unifaas/unifaas/internal/lab/record"
	"github.com/unifaas/unifaas/internal/lab/stat"
	"github.com/unifaas/unifaas/internal/lab/workload"
	"github.com/unifaas/unifaas/internal/sandbox"
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
	lab         *lab
	subjects    []experiment.Subject // that answer, in their order
}

// Run measures and returns the run with all that its folder has. When ctx ends
// it returns what there is with ctx's error; called again with the same
// options it goes on.
func Run(ctx context.Context, o Options) (_ *record.Run, err error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	r := &runner{Options: o}
	if r.experiments, err = o.chosen(); err != nil {
		return nil, err
	}
	if r.journal, err = record.Open(o.Output); err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "the run's folder can't be used: %w", err)
	}
	defer func() { err = errors.Join(err, r.journal.Close()) }()
	if err := r.begin(); err != nil {
		return nil, err
	}
	err = r.measure(ctx)
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
		r.facts = facts{Settings: r.settings(), Command: r.command(), Host: measure.HostFacts()}
		r.facts.Host.Began, r.facts.Host.Platform = time.Now(), r.Version
		return r.keepFacts()
	case err != nil:
		return err
	case old.Settings != r.settings():
		return faas.Errorf(faas.KindInvalid, "folder %q holds a run with other settings (%s); choose another --output, or remove it", r.Output, old.Settings)
	}
	r.facts = old
	r.facts.Missing = nil // it is found out again
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

// measure starts what is needed and takes the trials.
func (r *runner) measure(ctx context.Context) (err error) {
	dir, err := filepath.Abs(filepath.Join(r.Output, platformName))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	options := platform.Options{Exe: r.Exe, Dir: dir, Env: r.Env}
	folder, err := workload.Write(filepath.Join(dir, "programs"), r.Program)
	if err != nil {
		return err
	}
	r.lab = &lab{folder: folder, subjects: map[experiment.Subject]workload.Function{}}
	if err := r.choose(ctx, options); err != nil {
		return err
	}
	if r.lab.platform, err = platform.Start(ctx, options); err != nil {
		return err
	}
	defer func() {
		// What it kept is of no use to anyone, and large.
		err = errors.Join(err, r.lab.platform.Stop(), os.RemoveAll(dir))
	}()
	if err := r.lab.serve(ctx); err != nil {
		return err
	}
	if r.warmUp(ctx); len(r.subjects) == 0 && ctx.Err() == nil {
		return faas.Errorf(faas.KindUnavailable, "there is nothing to measure: no function answers; %s", r.whyNot())
	}
	return r.takeAll(ctx)
}

// choose asks doctor what there is to be measured.
func (r *runner) choose(ctx context.Context, options platform.Options) error {
	found, err := platform.Doctor(ctx, options)
	if err != nil {
		return err
	}
	r.facts.Host.Sandboxes, r.facts.Host.Isolation = map[string]string{}, nil
	for _, s := range found {
		if !s.Works {
			if r.wantsSandbox(s.Name, s.Name) {
				r.miss("", s.Name, s.Reason)
			}
			continue
		}
		if len(s.Variants) == 0 {
			r.add(s.Name, sandbox.Variant{Name: s.Name, Isolation: s.Isolation}, s.Detail)
		}
		for _, v := range s.Variants {
			r.add(s.Name, v, s.Detail)
		}
	}
	if len(r.subjects) == 0 {
		return faas.Errorf(faas.KindUnavailable, "there is nothing to measure: none of the sandboxes that were asked for works here; see unifaas doctor")
	}
	return nil
}

// add makes subjects of one sandbox.
func (r *runner) add(kind string, v sandbox.Variant, detail string) {
	if !r.wantsSandbox(kind, v.Name) {
		return
	}
	r.facts.Host.Sandboxes[v.Name] = detail
	if v.Isolation != "" {
		if r.facts.Host.Isolation == nil {
			r.facts.Host.Isolation = map[string]sandbox.Isolation{}
		}
		r.facts.Host.Isolation[v.Name] = v.Isolation
	}
	for _, l := range workload.Languages {
		if !r.wantsLanguage(l) {
			continue
		}
		if err := r.lab.folder.Missing(l); err != nil {
			r.miss("", v.Name, l+": "+err.Error())
			continue
		}
		s := experiment.Subject{Sandbox: v.Name, Language: l}
		r.lab.subjects[s] = workload.Function{Sandbox: kind, Keys: v.Keys, Language: l}
		r.subjects = append(r.subjects, s)
	}
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
