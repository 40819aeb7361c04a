// Command cmd is the conformance suite's guest as a static program.
package main

import "github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest"

func main() { guest.Main() }
