package sandboxtest

import (
	"os"
	"os/exec"
	"testing"
)

// guestPackage is the program that the suite runs in the sandbox.
const guestPackage = "github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest/cmd"

// PutGuest puts the suite's guest program at path, whose folder must exist. It
// is built anew each time; Go's build cache makes that cheap.
func PutGuest(t testing.TB, path string) {
	t.Helper()
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, guestPackage)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the suite's guest: %v\n%s", err, out)
	}
}
