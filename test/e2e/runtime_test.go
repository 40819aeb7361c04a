package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRuntimeByItsPath has an OCI runtime executed that is in no folder of
// programs.
func TestRuntimeByItsPath(t *testing.T) {
	needsSandbox(t, "runc")
	installed, err := exec.LookPath("runc")
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(t.TempDir(), "own-runtime")
	if err := copyFile(own, installed); err != nil {
		t.Fatal(err)
	}
	p := newPlatform(t).start(t)
	p.deploy(t, "f", fmt.Sprintf("sandbox = \"runc\"\nruntime = %q\n", own))
	p.want(t, "f", "/hello")

	p.write(t, "docker", toml(t, fmt.Sprintf("sandbox = \"docker\"\nruntime = %q\n", own)))
	if said := p.awaitError(t, "docker"); !strings.Contains(said, `only sandbox = "runc" takes`) {
		t.Errorf("a path for Docker: got %q", said)
	}
	p.stop(t)
}
