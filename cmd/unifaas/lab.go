package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest/linux"
	"github.com/unifaas/unifaas/internal/lab/compare"
	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/experiment/all"
	"github.com/unifaas/unifaas/internal/lab/paper"
	"github.com/unifaas/unifaas/internal/lab/record"
	"github.com/unifaas/unifaas/internal/lab/report"
	labrun "github.com/unifaas/unifaas/internal/lab/run"
)

type labCmd struct {
	Run       labRunCmd       `cmd:"" help:"Measure the sandboxes that work on this machine."`
	Report    labReportCmd    `cmd:"" help:"Write the report of a run again, or the paper's figures as one."`
	Functions labFunctionsCmd `cmd:"" help:"Write the functions that a platform must serve to be measured with run --target."`
	Compare   labCompareCmd   `cmd:"" help:"Put two runs beside each other."`
	List      labListCmd      `cmd:"" help:"List the experiments."`
}

type labRunCmd struct {
	Output      string   `placeholder:"DIR" help:"Folder of the run: samples, summaries, report. A run that was interrupted goes on there. Default: unifaas-lab-DATE."`
	Quick       bool     `xor:"scale" help:"A fixed reduced matrix, within minutes."`
	Paper       bool     `xor:"scale" help:"As many samples as the paper took."`
	Experiments []string `placeholder:"NAME" help:"Only these experiments; see unifaas lab list."`
	Sandboxes   []string `placeholder:"NAME" help:"Only these sandboxes."`
	Languages   []string `placeholder:"NAME" help:"Only functions in these languages: go, node."`
	Target      string   `placeholder:"URL" help:"Measure the platform at this address, http://HOST:PORT, instead of starting one: what can be measured by requests alone. It must serve what unifaas lab functions writes."`
}

func (c *labRunCmd) Run(e *env) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the path of unifaas: %w", err)
	}
	if c.Output == "" {
		c.Output = "unifaas-lab-" + time.Now().Format("2006-01-02")
	}
	progress := &progress{to: e.stderr, terminal: isTerminal(os.Stderr)}
	measured, err := labrun.Run(e.ctx, labrun.Options{
		Output: c.Output, Exe: exe, Version: version, Scale: c.scale(),
		Experiments: c.Experiments, Sandboxes: c.Sandboxes, Languages: c.Languages, Target: c.Target,
		Progress: progress.show, Env: labSettings(e),
	})
	progress.end()
	if err != nil {
		if measured != nil && e.ctx.Err() != nil {
			return faas.Errorf(faas.KindCanceled, "interrupted; what was measured is in %s, and the same command goes on there", c.Output)
		}
		return err
	}
	return writeReport(e, measured, c.Output)
}

// labSettings are what the laboratory's platform has of the operator's: where
// things are that virtual machines need. All else it has as by default.
func labSettings(e *env) []string {
	settings := []string{"UNIFAAS_MACHINES_KERNELS=" + linux.Kernels(e.dirs.StateDir)}
	for _, name := range []string{"UNIFAAS_FIRECRACKER", "UNIFAAS_NANOS_DIR", "UNIFAAS_OSV_LOADER"} {
		if path := os.Getenv(name); path != "" {
			settings = append(settings, name+"="+path)
		}
	}
	return settings
}

// writeReport writes a run's report and tells where it is.
func writeReport(e *env, r *record.Run, dir string) error {
	published, err := paper.Run()
	if err != nil {
		return err
	}
	if r.Name == paper.Name {
		published = nil // it is not put beside itself
	}
	experiments := append(all.Experiments(), paper.Experiments...)
	if err := report.New(r, published, experiments).Write(dir); err != nil {
		return fmt.Errorf("write the report; what was measured is kept: %w", err)
	}
	fmt.Fprintln(e.stdout, filepath.Join(dir, report.PageName))
	return nil
}

type labFunctionsCmd struct {
	Output    string   `required:"" placeholder:"DIR" help:"Folder of functions, for unifaas up --functions DIR on this machine."`
	Sandboxes []string `placeholder:"NAME" help:"Only these sandboxes."`
	Languages []string `placeholder:"NAME" help:"Only functions in these languages: go, node."`
}

func (c *labFunctionsCmd) Run(e *env) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the path of unifaas: %w", err)
	}
	names, err := labrun.Functions(e.ctx, labrun.Options{Output: c.Output, Exe: exe, Sandboxes: c.Sandboxes, Languages: c.Languages, Env: labSettings(e)})
	if err != nil {
		return err
	}
	for _, name := range names {
		fmt.Fprintln(e.stdout, name)
	}
	return nil
}

type labReportCmd struct {
	From   string `arg:"" name:"run" help:"Folder of a run, or \"paper\" for the paper's figures."`
	Output string `placeholder:"DIR" help:"Folder of the report. Default: the run's."`
}

func (c *labRunCmd) scale() experiment.Scale {
	switch {
	case c.Quick:
		return experiment.Quick
	case c.Paper:
		return experiment.Paper
	default:
		return experiment.Normal
	}
}

// A progress shows where a run is: one line that is written over on a
// terminal, and elsewhere one for each experiment.
type progress struct {
	to         io.Writer
	terminal   bool
	experiment string
	width      int
}

func (p *progress) show(at labrun.Progress) {
	line := fmt.Sprintf("[%d/%d] %s, about %v left", at.Done+1, at.All, at.Step, at.Left.Round(time.Second))
	if p.terminal {
		fmt.Fprintf(p.to, "\r%s%s", line, strings.Repeat(" ", max(0, p.width-len(line))))
		p.width = len(line)
		return
	}
	if at.Experiment != p.experiment {
		p.experiment = at.Experiment
		fmt.Fprintln(p.to, line)
	}
}

func (p *progress) end() {
	if p.terminal && p.width > 0 {
		fmt.Fprintf(p.to, "\r%s\r", strings.Repeat(" ", p.width))
	}
}

func (c *labReportCmd) Run(e *env) error {
	r, err := loadRun(c.From)
	if err != nil {
		return err
	}
	dir := c.Output
	switch {
	case dir == "" && r.Name == paper.Name:
		return faas.Errorf(faas.KindInvalid, "the paper's figures have no folder; write --output DIR")
	case dir == "":
		dir = c.From
	}
	return writeReport(e, r, dir)
}

type labCompareCmd struct {
	output
	A      string  `arg:"" help:"Folder of a run, or \"paper\" for the paper's figures."`
	B      string  `arg:"" help:"Folder of the run that is compared with it."`
	Factor float64 `default:"1.1" help:"By what factor a median must be worse to be a regression, for which the exit code is 1."`
}

func (c *labCompareCmd) Run(e *env) error {
	a, err := loadRun(c.A)
	if err != nil {
		return err
	}
	b, err := loadRun(c.B)
	if err != nil {
		return err
	}
	r := compare.Runs(a, b)
	if err := c.print(e.stdout, r, func(w io.Writer) { _ = r.Write(w) }); err != nil {
		return err
	}
	worse := r.Regressions(c.Factor)
	for _, row := range worse {
		fmt.Fprintf(e.stderr, "worse: %s %s %s %s %s: %.2f\n", row.Experiment, row.Sandbox, row.Language, row.Parameters, row.Metric, row.Ratio)
	}
	if len(worse) > 0 {
		return errQuiet{faas.KindInternal}
	}
	return nil
}

// loadRun returns a run by the folder that holds it.
func loadRun(name string) (*record.Run, error) {
	if name == paper.Name {
		return paper.Run()
	}
	r, err := labrun.Load(name)
	if err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "%q holds no run of the laboratory: %w", name, err)
	}
	return r, nil
}

type labListCmd struct{ output }

func (c *labListCmd) Run(e *env) error {
	experiments := all.Experiments()
	named := map[string]string{}
	for _, x := range experiments {
		named[x.Name] = x.About
	}
	return c.print(e.stdout, named, func(w io.Writer) {
		for _, x := range experiments {
			fmt.Fprintf(w, "%-20s %s\n", x.Name, x.About)
		}
	})
}
