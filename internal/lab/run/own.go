package run

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/platform"
	"github.com/unifaas/unifaas/internal/lab/workload"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// measureOwn starts a platform of the laboratory's own and takes the trials.
func (r *runner) measureOwn(ctx context.Context) (err error) {
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
	own := &lab{folder: folder, subjects: map[experiment.Subject]workload.Function{}}
	r.lab = own
	if err := r.choose(ctx, own, options); err != nil {
		return err
	}
	if own.platform, err = platform.Start(ctx, options); err != nil {
		return err
	}
	defer func() {
		// What it kept is of no use to anyone, and large.
		err = errors.Join(err, own.platform.Stop(), os.RemoveAll(dir))
	}()
	if err := own.serve(ctx); err != nil {
		return err
	}
	if r.warmUp(ctx); len(r.subjects) == 0 && ctx.Err() == nil {
		return faas.Errorf(faas.KindUnavailable, "there is nothing to measure: no function answers; %s", r.whyNot())
	}
	return r.takeAll(ctx)
}

// choose asks doctor what there is to be measured.
func (r *runner) choose(ctx context.Context, own *lab, options platform.Options) error {
	found, err := platform.Doctor(ctx, options)
	if err != nil {
		return err
	}
	r.facts.Host.Sandboxes, r.facts.Host.Isolation = map[string]string{}, nil
	r.facts.Host.Emulated = nil
	for _, s := range found {
		if !s.Works {
			if r.wantsSandbox(s.Name, s.Name) {
				r.miss("", s.Name, s.Reason)
			}
			continue
		}
		if len(s.Variants) == 0 {
			r.add(own, s.Name, sandbox.Variant{Name: s.Name, Isolation: s.Isolation}, s.Detail)
		}
		emulated := ""
		for _, v := range s.Variants {
			if v.Emulated && emulated != "" && r.Scale == experiment.Quick && len(r.Sandboxes) == 0 {
				r.miss("", v.Name, "left out of a quick run beside "+emulated+": no processor executes either's guests here, but a program; name it with --sandboxes")
				continue
			}
			if r.add(own, s.Name, v, s.Detail); v.Emulated {
				emulated = v.Name
			}
		}
	}
	if len(r.subjects) == 0 {
		return faas.Errorf(faas.KindUnavailable, "there is nothing to measure: none of the sandboxes that were asked for works here; see unifaas doctor")
	}
	return nil
}

// add makes subjects of one sandbox.
func (r *runner) add(own *lab, kind string, v sandbox.Variant, detail string) {
	if !r.wantsSandbox(kind, v.Name) {
		return
	}
	r.facts.Host.Sandboxes[v.Name] = detail
	if v.Emulated {
		r.facts.Host.Emulated = append(r.facts.Host.Emulated, v.Name)
	}
	if v.Isolation != "" {
		if r.facts.Host.Isolation == nil {
			r.facts.Host.Isolation = map[string]sandbox.Isolation{}
		}
		r.facts.Host.Isolation[v.Name] = v.Isolation
	}
	for i, l := range r.wantedLanguages() {
		if i > 0 && v.Emulated && r.Scale == experiment.Quick {
			r.miss("", v.Name, l+": left out of a quick run, as no processor executes these machines' guests here but a program")
			continue
		}
		if err := own.folder.Missing(l); err != nil {
			r.miss("", v.Name, l+": "+err.Error())
			continue
		}
		s := experiment.Subject{Sandbox: v.Name, Language: l}
		own.subjects[s] = workload.Function{Sandbox: kind, Keys: v.Keys, Language: l}
		r.subjects, r.emulated[s] = append(r.subjects, s), v.Emulated
	}
}
