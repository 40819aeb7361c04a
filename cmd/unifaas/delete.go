package main

import (
	"fmt"
	"io"
)

type deleteCmd struct {
	Function string `arg:"" help:"The function."`
	Wait     bool   `negatable:"" default:"true" help:"Return when its requests have finished and its instances have gone; --no-wait: when new requests are refused."`
	output
}

// Run deletes a function that was deployed.
func (c *deleteCmd) Run(e *env) error {
	if err := e.client().Delete(e.ctx, c.Function, c.Wait); err != nil {
		return err
	}
	return c.print(e.stdout, map[string]any{"function": c.Function, "deleted": true}, func(w io.Writer) {
		fmt.Fprintf(w, "%s: deleted\n", c.Function)
	})
}
