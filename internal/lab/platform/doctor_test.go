package platform

import (
	"os"
	"path/filepath"
	"testing"
)

// TestDoctorIsAskedForSandboxes: Node.js is no sandbox to measure.
func TestDoctorIsAskedForSandboxes(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "unifaas")
	const script = `#!/bin/sh
echo '[{"name":"gvisor","works":true},{"name":"osv"},{"name":"node","kind":"program","works":true}]'
`
	if err := os.WriteFile(exe, []byte(script), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	found, err := Doctor(t.Context(), Options{Exe: exe, Dir: t.TempDir()})
	if err != nil || len(found) != 2 || found[0].Name != "gvisor" || found[1].Name != "osv" {
		t.Errorf("got %+v, %v", found, err)
	}
}
