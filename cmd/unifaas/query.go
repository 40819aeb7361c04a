package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/unifaas/unifaas/internal/control"
)

// output is embedded by commands that can print JSON.
type output struct {
	JSON bool `help:"Print JSON."`
}

// print writes v as JSON, or for people by calling show.
func (o output) print(w io.Writer, v any, show func(io.Writer)) error {
	if !o.JSON {
		show(w)
		return nil
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func newTable(w io.Writer, header ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft = ""
	style.Box.PaddingRight = "  "
	t.SetStyle(style)
	t.AppendHeader(header)
	return t
}

type listCmd struct{ output }

func (c *listCmd) Run(e *env) error {
	functions, err := e.client().Functions(e.ctx)
	if err != nil {
		return err
	}
	return c.print(e.stdout, functions, func(w io.Writer) {
		t := newTable(w, "function", "from", "sandbox", "revision", "instances", "queued", "state")
		for _, f := range functions {
			t.AppendRow(table.Row{f.Name, f.Origin, f.Sandbox, f.Revision, f.Instances, f.Queued, health(f)})
		}
		t.Render()
	})
}

func health(f control.Function) string {
	switch {
	case f.Error == "" && f.Conflict != "":
		return "ok; error: " + f.Conflict
	case f.Error == "":
		return "ok"
	case f.Revision == "":
		return "error: " + f.Error
	default:
		return "serving the last good version; error: " + f.Error
	}
}

type psCmd struct{ output }

func (c *psCmd) Run(e *env) error {
	instances, err := e.client().Instances(e.ctx)
	if err != nil {
		return err
	}
	return c.print(e.stdout, instances, func(w io.Writer) { showInstances(w, instances) })
}

func showInstances(w io.Writer, instances []control.Instance) {
	t := newTable(w, "instance", "function", "revision", "sandbox", "state", "in flight", "served", "memory", "age")
	for _, i := range instances {
		t.AppendRow(table.Row{i.ID, i.Function, i.Revision, i.Sandbox, i.State, i.InFlight, i.Served, mebibytes(i.Memory), age(i.Created)})
	}
	t.Render()
}

func mebibytes(n int64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

func age(t time.Time) string { return time.Since(t).Round(time.Second).String() }

type describeCmd struct {
	output
	Function string `arg:"" help:"The function."`
}

func (c *describeCmd) Run(e *env) error {
	d, err := e.client().Describe(e.ctx, c.Function)
	if err != nil {
		return err
	}
	return c.print(e.stdout, d, func(w io.Writer) { showDetail(w, d) })
}

func showDetail(w io.Writer, d *control.Detail) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-14s %s\n", name+":", fmt.Sprintf(format, args...))
	}
	line("function", "%s", d.Name)
	line("state", "%s", health(d.Function))
	showOrigin(line, d)
	if d.Config != nil {
		showConfig(line, d)
	}
	if r := d.Relief; r != nil {
		line("falls back", "to %s for %s, until its own sandbox works; next try in %s; because: %s",
			d.Config.Fallback, age(r.Since), time.Until(r.Next).Round(time.Second), r.Reason)
	}
	if e := d.StartError; e != nil {
		line("failed start", "%s ago (%d in a row): %s", age(e.At), d.FailedStarts, e.Error)
		if !d.RetryAt.IsZero() {
			line("next try", "in %s", time.Until(d.RetryAt).Round(100*time.Millisecond))
		}
		indent(w, "its output", e.Output)
	}
	if len(d.Running) > 0 {
		fmt.Fprintln(w)
		showInstances(w, d.Running)
	}
	for _, x := range d.Exits {
		fmt.Fprintf(w, "\nended %s ago: %s: %s\n", age(x.At), x.Instance, x.Reason)
		for _, l := range x.Output {
			fmt.Fprintf(w, "  | %s\n", l)
		}
	}
}

func showOrigin(line func(name, format string, args ...any), d *control.Detail) {
	line("from", "%s", d.Origin)
	if d.Dir != "" {
		line("folder", "%s", d.Dir)
	} else if d.File != "" {
		line("file", "%s", d.File)
	}
	if d.Deployed != nil {
		line("deployed", "%s", deploymentName(d.Deployed))
	}
	if d.Previous != nil {
		line("before that", "%s", deploymentName(d.Previous))
	}
}

func showConfig(line func(name, format string, args ...any), d *control.Detail) {
	fn := d.Config
	if fn.Fallback == "" {
		line("sandbox", "%s", fn.Sandbox)
	} else {
		line("sandbox", "%s, with %s as fallback", fn.Sandbox, fn.Fallback)
	}
	if d.SandboxDetail != "" {
		line("runs with", "%s", d.SandboxDetail)
	}
	line("revision", "%s (loaded %s ago)", d.Digest, age(d.Loaded))
	line("image", "%s (%s)", fn.Image, d.ImageDigest)
	line("command", "%q", fn.Command)
	line("port", "%d", fn.Port)
	line("concurrency", "%d, %s, keepalive %s, instances %d..%d (0: as the machine allows)",
		fn.Concurrency, fn.SingleUse, fn.Keepalive, fn.MinInstances, fn.MaxInstances)
	line("limits", "memory %d MiB, cpus %g, pids %d, disk %d MiB",
		fn.Limits.Memory>>20, fn.Limits.CPUs, fn.Limits.Pids, fn.Limits.Disk>>20)
	line("timeouts", "start %s, first byte %s, idle %s, total %s",
		fn.StartTimeout, fn.Timeout.FirstByte, fn.Timeout.Idle, fn.Timeout.Total)
	line("queue", "%d waiting of %d", d.Queued, fn.Queue)
}

func indent(w io.Writer, title, text string) {
	if text != "" {
		fmt.Fprintf(w, "%s:\n  | %s\n", title, replaceNewlines(text))
	}
}
