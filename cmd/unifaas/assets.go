package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/unifaas/unifaas/internal/config"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest/assets"
	"github.com/unifaas/unifaas/internal/sandbox/all"
)

// assetsCmd are the commands on what unikernels need of the operator. They work
// on the folder of state, whether a platform runs or not: one that does takes
// other kernels for the functions that it loads from then on.
type assetsCmd struct {
	Add    assetsAddCmd    `cmd:"" help:"Check files of a unikernel, and keep a copy of them."`
	List   assetsListCmd   `cmd:"" help:"List what there is for each unikernel; the first is used."`
	Remove assetsRemoveCmd `cmd:"" help:"Remove what was added."`
}

func (e *env) assets() *assets.Store { return assets.NewStore(assets.Dir(e.dirs.StateDir)) }

type assetsAddCmd struct {
	output
	System string `arg:"" help:"Whose files they are: nanos or osv."`
	Path   string `arg:"" help:"The files: of nanos, the folder of a release with kernel.img and boot.img; of osv, its kernel loader-stripped.elf."`
}

func (c *assetsAddCmd) Run(e *env) error {
	kind, err := assetKind(c.System)
	if err != nil {
		return err
	}
	set, err := e.assets().Add(kind, c.Path)
	if err != nil {
		return faas.Errorf(faas.KindInvalid, "%w", err)
	}
	return c.print(e.stdout, set, func(w io.Writer) { fmt.Fprintf(w, "%s: %s\n", set.ID(), describeSet(set)) })
}

func describeSet(s *assets.Set) string {
	if s.Version == "" {
		return s.System
	}
	return s.System + " " + s.Version
}

// assetKind returns the kind of a system's assets.
func assetKind(system string) (assets.Kind, error) {
	var names []string
	for _, f := range all.Assets("", all.Settings{}) {
		if f.Kind().System == system {
			return f.Kind(), nil
		}
		names = append(names, f.Kind().System)
	}
	return assets.Kind{}, faas.Errorf(faas.KindInvalid, "there are no assets of %q; there are those of %s", system, strings.Join(names, " and "))
}

type assetsListCmd struct {
	output
	config.Sandboxes
}

func (c *assetsListCmd) Run(e *env) error {
	sets := []*assets.Set{}
	var broken []error
	for _, finder := range all.Assets(e.dirs.StateDir, settings(c.Sandboxes, e.dirs)) {
		found, err := finder.All()
		if err != nil {
			broken = append(broken, err)
		}
		sets = append(sets, found...)
	}
	for _, err := range broken {
		fmt.Fprintln(e.stderr, "unifaas:", err)
	}
	return c.print(e.stdout, sets, func(w io.Writer) {
		t := newTable(w, "assets", "system", "version", "how it was found", "from")
		for _, s := range sets {
			t.AppendRow(table.Row{s.ID(), s.System, s.Version, s.Origin, s.Source})
		}
		t.Render()
	})
}

type assetsRemoveCmd struct {
	Name string `arg:"" help:"As list shows it, or the system's name where there is one alone."`
}

func (c *assetsRemoveCmd) Run(e *env) error {
	if err := e.assets().Remove(c.Name); err != nil {
		return faas.Errorf(faas.KindNotFound, "%w", err)
	}
	return nil
}
