package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/unifaas/unifaas/internal/sandbox/gvisor"
)

func TestMain(m *testing.M) {
	gvisor.Dispatch() // doctor starts sandboxes
	testscript.Main(m, map[string]func(){"unifaas": main})
}

// TestScripts runs the command line where no platform is needed; with one, it
// is tested in test/e2e.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("UNIFAAS_CONFIG", "")
			e.Setenv("UNIFAAS_STATE_DIR", e.WorkDir+"/state")
			e.Setenv("UNIFAAS_RUN_DIR", e.WorkDir+"/run")
			return nil
		},
	})
}
