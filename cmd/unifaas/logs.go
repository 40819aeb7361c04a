package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/logs"
)

type logsCmd struct {
	output
	Function string `arg:"" help:"The function."`
	Instance string `help:"Only this instance."`
	Tail     int    `short:"n" default:"100" help:"Last lines to begin with; 0 is all that is kept."`
	Follow   bool   `short:"f" help:"Go on with new lines."`
}

func (c *logsCmd) Run(e *env) error {
	query := control.LogQuery{Function: c.Function, Instance: c.Instance, Tail: c.Tail, Follow: c.Follow}
	enc := json.NewEncoder(e.stdout)
	return e.client().Logs(e.ctx, query, func(entry logs.Entry) error {
		if c.JSON {
			return enc.Encode(entry)
		}
		_, err := fmt.Fprintf(e.stdout, "%s %s %s\n", entry.Time.Local().Format("15:04:05.000"), entry.Instance, printable(entry.Text))
		return err
	})
}

// printable replaces what could drive the reader's terminal: the text was
// written by a function.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '\ufffd'
		}
		return r
	}, text)
}

func replaceNewlines(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = printable(l)
	}
	return strings.Join(lines, "\n  | ")
}
