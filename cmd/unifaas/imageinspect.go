package main

import (
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/unifaas/unifaas/internal/guest/formats"
)

type imageInspectCmd struct {
	output
	File string `arg:"" help:"A disk or an initial file system, for instance one that build has written."`
}

func (c *imageInspectCmd) Run(e *env) error {
	contents, err := formats.Inspect(c.File)
	if err != nil {
		return err
	}
	return c.print(e.stdout, contents, func(w io.Writer) {
		fmt.Fprintf(w, "%s, %d bytes\n", contents.Format, contents.Size)
		for _, d := range contents.Details {
			fmt.Fprintf(w, "%s: %s\n", printable(d.Name), printable(d.Value))
		}
		t := newTable(w, "type", "mode", "size", "path")
		for _, f := range contents.Files {
			path := fmt.Sprintf("%q", f.Path)
			if f.Target != "" {
				path += fmt.Sprintf(" -> %q", f.Target)
			}
			t.AppendRow(table.Row{f.Type, orDash(f.Mode), f.Size, path})
		}
		t.Render()
	})
}
