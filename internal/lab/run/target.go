package run

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/measure"
	"github.com/unifaas/unifaas/internal/lab/platform"
	"github.com/unifaas/unifaas/internal/lab/record"
	"github.com/unifaas/unifaas/internal/lab/workload"
)

// A target is a platform that runs already, perhaps on another machine: all
// that is known of it is the address of its gateway. It serves what [Functions]
// has written.
type target struct{ url string }

var _ experiment.Lab = target{}

// targetModes are those that requests alone can use.
var targetModes = []experiment.Mode{experiment.Single, experiment.Warm}

var errOutside = errors.New("only the gateway of this platform is known")

// checkTarget returns an error unless s is where a gateway can be asked.
func checkTarget(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
		return faas.Errorf(faas.KindInvalid, "%q is no address of a platform; write --target http://HOST:PORT", s)
	}
	return nil
}

// leaveOutInside leaves out the experiments that need more than a gateway.
func (r *runner) leaveOutInside() {
	var kept []experiment.Experiment
	for _, e := range r.experiments {
		if !e.Inside {
			kept = append(kept, e)
			continue
		}
		r.left = append(r.left, record.Missing{Experiment: e.Name, Reason: "it needs the platform's machine and not only its address; run unifaas lab there"})
	}
	r.experiments = kept
}

// measureTarget takes the trials on the target.
func (r *runner) measureTarget(ctx context.Context) error {
	if len(r.experiments) == 0 {
		return faas.Errorf(faas.KindInvalid, "none of the experiments that were asked for can be made with an address alone; leave --target out")
	}
	r.lab = target{r.Target}
	names := r.Sandboxes
	if len(names) == 0 {
		names = faas.Sandboxes()
	}
	for _, name := range names {
		for _, l := range r.wantedLanguages() {
			r.subjects = append(r.subjects, experiment.Subject{Sandbox: name, Language: l})
		}
	}
	r.facts.Host.Sandboxes = map[string]string{}
	r.warmUp(ctx)
	for _, s := range r.subjects {
		r.facts.Host.Sandboxes[s.Sandbox] = ""
	}
	if len(r.subjects) == 0 && ctx.Err() == nil {
		return faas.Errorf(faas.KindUnavailable, "there is nothing to measure: no function answers at %s; have it serve what unifaas lab functions writes there: %s", r.Target, r.whyNot())
	}
	return r.takeAll(ctx)
}

// URL implements [experiment.Lab].
func (t target) URL(s experiment.Subject, m experiment.Mode, path string) string {
	return t.url + "/invoke/" + name(s, m) + path
}

// Hello implements [experiment.Lab].
func (target) Hello(s experiment.Subject) string { return workload.Hello[s.Language] }

// Inside implements [experiment.Lab].
func (target) Inside() bool { return false }

// Gone implements [experiment.Lab]. In mode Single each request has an instance
// of its own anyway.
func (target) Gone(ctx context.Context, _ experiment.Subject, _ experiment.Mode) error {
	return ctx.Err()
}

// The rest of [experiment.Lab] needs more than a gateway.

func (target) Renew(context.Context, int, ...experiment.Subject) error   { return errOutside }
func (target) Await(context.Context, experiment.Subject, int) error      { return errOutside }
func (target) Fresh(context.Context, ...experiment.Subject) error        { return errOutside }
func (target) Image(context.Context, experiment.Subject) (int64, error)  { return 0, errOutside }
func (target) Came(_, _ []measure.ProcessMemory) []measure.ProcessMemory { return nil }
func (target) FailedStarts(context.Context, experiment.Subject, experiment.Mode) (int, error) {
	return 0, errOutside
}
func (target) Instances(context.Context, experiment.Subject, experiment.Mode) ([]control.Instance, error) {
	return nil, errOutside
}

// Functions writes a folder of functions for a platform to serve that is to be
// measured as a target. They are those of the sandboxes that work on this
// machine, which is therefore the platform's. It returns their names.
func Functions(ctx context.Context, o Options) ([]string, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(o.Output)
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp("", "unifaas-lab-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	folder, err := workload.Write(filepath.Join(dir, ".programs"), o.Program) // a platform passes such folders over
	if err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "the folder of functions can't be written: %w", err)
	}
	r := &runner{Options: o, emulated: map[experiment.Subject]bool{}}
	own := &lab{folder: folder, subjects: map[experiment.Subject]workload.Function{}}
	if err := r.choose(ctx, own, platform.Options{Exe: o.Exe, Dir: work, Env: o.Env}); err != nil {
		return nil, err
	}
	var names []string
	for _, s := range r.subjects {
		for _, m := range targetModes {
			if err := writeFunction(filepath.Join(dir, name(s, m)), own.toml(s, m, 0)); err != nil {
				return nil, fmt.Errorf("write function %q: %w", name(s, m), err)
			}
			names = append(names, name(s, m))
		}
	}
	return names, nil
}

func writeFunction(dir, toml string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "function.toml"), []byte(toml), 0o644)
}
