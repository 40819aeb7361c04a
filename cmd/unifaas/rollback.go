package main

import "io"

type rollbackCmd struct {
	Function string `arg:"" help:"The function."`
	Wait     bool   `negatable:"" default:"true" help:"Switch only after an instance has been ready; --no-wait switches at once."`
	output
}

// Run has the deployment before the current one served again.
func (c *rollbackCmd) Run(e *env) error {
	out, err := e.client().Rollback(e.ctx, c.Function, c.Wait)
	if err != nil {
		return showOutput(e.stderr, err)
	}
	return c.print(e.stdout, out, func(w io.Writer) { showOutcome(w, out) })
}
