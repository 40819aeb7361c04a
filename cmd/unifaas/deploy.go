package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/deploy"
	"github.com/unifaas/unifaas/internal/faas"
)

type deployCmd struct {
	Source string `arg:"" name:"path|image|binary" help:"A folder with a function.toml; a program; or an image: a registry reference, oci:DIR, docker-archive:FILE, dir:ROOTFS."`
	Name   string `placeholder:"NAME" help:"Name of the function. Default: of the folder, the program or the image."`
	deployFlags
	Wait bool `negatable:"" default:"true" help:"Switch only after an instance has been ready, and return when it is served; --no-wait leaves out the try."`
	output
}

// deployFlags are stronger than the keys of function.toml that they are
// called after.
type deployFlags struct {
	Sandbox      *string           `placeholder:"NAME" help:"Sandbox: gvisor, container, runc, docker, linux, nanos, osv or auto."`
	Fallback     *string           `placeholder:"NAME" help:"Sandbox that serves while the first keeps failing."`
	Runtime      *string           `placeholder:"NAME" help:"Runtime of the sandboxes runc and docker."`
	Command      []string          `sep:"none" placeholder:"ARG" help:"Command and its arguments, one flag for each."`
	Port         *int64            `help:"Port on which the function serves."`
	Memory       *int64            `placeholder:"MIB" help:"Memory limit in MiB."`
	CPUs         *float64          `name:"cpus" placeholder:"N" help:"Limit of processors."`
	Pids         *int64            `placeholder:"N" help:"Limit of processes and threads."`
	Disk         *int64            `placeholder:"MIB" help:"Limit of writable space in MiB."`
	Env          map[string]string `mapsep:"none" placeholder:"NAME=VALUE" help:"Environment variable; may be repeated."`
	Label        map[string]string `mapsep:"none" placeholder:"NAME=VALUE" help:"Label; may be repeated."`
	Concurrency  *int64            `placeholder:"N" help:"Requests that an instance handles at once."`
	Queue        *int64            `placeholder:"N" help:"Requests that may wait."`
	Keepalive    *string           `placeholder:"DURATION" help:"How long an idle instance stays."`
	SingleUse    *bool             `help:"An instance serves one request."`
	MinInstances *int64            `placeholder:"N" help:"Instances that are kept."`
	MaxInstances *int64            `placeholder:"N" help:"Instances that there may be; 0: as the machine allows."`
	Timeout      *string           `placeholder:"DURATION" help:"Bound of a whole request."`
	StartTimeout *string           `placeholder:"DURATION" help:"Bound of an instance's start."`
	Ready        *string           `placeholder:"HOW" help:"When an instance is ready: port, callback or http:/PATH."`
	Health       *string           `placeholder:"HOW" help:"How idle instances are checked: http:/PATH, tcp or none."`
}

func (f *deployFlags) overrides() deploy.Overrides {
	return deploy.Overrides{
		Sandbox: f.Sandbox, Fallback: f.Fallback, Runtime: f.Runtime, Command: f.Command, Port: f.Port, Memory: f.Memory, CPUs: f.CPUs,
		Pids: f.Pids, Disk: f.Disk, Env: f.Env, Labels: f.Label, Concurrency: f.Concurrency, Queue: f.Queue, Keepalive: f.Keepalive, SingleUse: f.SingleUse,
		MinInstances: f.MinInstances, MaxInstances: f.MaxInstances, Timeout: f.Timeout, StartTimeout: f.StartTimeout,
		Ready: f.Ready, Health: f.Health,
	}
}

// Run sends what is to be deployed to the platform.
func (c *deployCmd) Run(e *env) error {
	what, err := findDeployable(c.Source)
	if err != nil {
		return err
	}
	if c.Name == "" {
		c.Name = what.name
	}
	if !faas.ValidName(c.Name) {
		return faas.Errorf(faas.KindInvalid, "%q is no function name: 1 to 63 letters, digits, dots, underscores and hyphens, "+
			"the first and the last a letter or a digit; choose one with --name", c.Name)
	}
	bundle := what.bundle()
	defer bundle.Close()
	out, err := e.client().Deploy(e.ctx, deploy.Request{
		Name: c.Name, Overrides: c.overrides(), Source: what.source, File: what.file, Try: c.Wait, Bundle: bundle,
	})
	if err != nil {
		return showOutput(e.stderr, err)
	}
	return c.print(e.stdout, out, func(w io.Writer) { showOutcome(w, out) })
}

// showOutput prints what a function said that failed; the error follows.
func showOutput(w io.Writer, err error) error {
	var o *control.OutputError
	if errors.As(err, &o) {
		indent(w, "the function's last output", o.Text)
	}
	return err
}

func showOutcome(w io.Writer, out *deploy.Outcome) {
	state := "is served"
	if out.Unchanged {
		state = "was served already; nothing has changed"
	}
	fmt.Fprintf(w, "%s: %s, %s\n", out.Function, deploymentName(&out.Current), state)
	if out.Previous != nil && !out.Unchanged {
		fmt.Fprintf(w, "unifaas rollback %s: back to %s\n", out.Function, deploymentName(out.Previous))
	}
}

func deploymentName(d *deploy.Deployment) string {
	return fmt.Sprintf("deployment %d (revision %s, %s, %s)", d.Number, d.Revision, printable(d.Source), d.Deployed.Local().Format(time.DateTime))
}
