package main

import (
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest/linux"
	"github.com/unifaas/unifaas/internal/guest/linux/kernel"
)

// kernelCmd are the commands on the kernels that Linux guests boot. They work
// on the folder of state, whether a platform runs or not: one that does takes
// another default for the functions that it loads from then on.
type kernelCmd struct {
	Install kernelInstallCmd `cmd:"" help:"Download Debian's kernel for virtual machines with apt; nothing is installed on this machine."`
	Add     kernelAddCmd     `cmd:"" help:"Add a kernel of your own: a bzImage or an ELF vmlinux."`
	Build   kernelBuildCmd   `cmd:"" help:"Build a small kernel that boots fast, from Debian's sources: a quarter of an hour of processor time."`
	List    kernelListCmd    `cmd:"" help:"List the kernels; functions get the first."`
	Remove  kernelRemoveCmd  `cmd:"" help:"Remove a kernel."`
}

func (e *env) kernels() *kernel.Store { return kernel.NewStore(linux.Kernels(e.dirs.StateDir)) }

func (o *output) printKernel(w io.Writer, k *kernel.Kernel) error {
	return o.print(w, k, func(w io.Writer) { fmt.Fprintf(w, "%s: Linux %s\n", k.ID(), k.Version) })
}

type kernelInstallCmd struct{ output }

func (c *kernelInstallCmd) Run(e *env) error {
	k, err := e.kernels().Install(e.ctx)
	if err != nil {
		return err
	}
	return c.printKernel(e.stdout, k)
}

type kernelAddCmd struct {
	output
	Path string `arg:"" help:"Of the kernel."`
}

func (c *kernelAddCmd) Run(e *env) error {
	k, err := e.kernels().Add(e.ctx, c.Path)
	if err != nil {
		return err
	}
	return c.printKernel(e.stdout, k)
}

type kernelBuildCmd struct{ output }

func (c *kernelBuildCmd) Run(e *env) error {
	begin, last := time.Now(), ""
	k, err := e.kernels().Build(e.ctx, func(step string, percent int) {
		line := step
		if percent > 0 {
			line = fmt.Sprintf("%s, %d %%", step, percent-percent%10)
		}
		if line != last {
			fmt.Fprintf(e.stderr, "[%v] %s\n", time.Since(begin).Round(time.Second), line)
			last = line
		}
	})
	if err != nil {
		return err
	}
	return c.printKernel(e.stdout, k)
}

type kernelListCmd struct{ output }

func (c *kernelListCmd) Run(e *env) error {
	all, err := e.kernels().List()
	if err != nil {
		return err
	}
	return c.print(e.stdout, all, func(w io.Writer) {
		t := newTable(w, "kernel", "version", "from", "added")
		for _, k := range all {
			t.AppendRow(table.Row{k.ID(), k.Version, k.Source, k.Added.Format("2006-01-02 15:04")})
		}
		t.Render()
	})
}

type kernelRemoveCmd struct {
	Name string `arg:"" help:"Of the kernel, as list shows it, or its version."`
}

func (c *kernelRemoveCmd) Run(e *env) error {
	k, err := e.kernels().Find(c.Name)
	if err != nil {
		return faas.Errorf(faas.KindNotFound, "%w", err)
	}
	return e.kernels().Remove(e.ctx, k)
}
