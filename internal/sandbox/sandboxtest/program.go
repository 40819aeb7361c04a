package sandboxtest

import (
	"os"
	"os/exec"
	"testing"
)

// GuestEnv names the environment variable that holds the path of the suite's
// guest program, already built: for machines without Go.
const GuestEnv = "UNIFAAS_TEST_GUEST"

// guestPackage is the program that the suite runs in the sandbox.
const guestPackage = "github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest/cmd"

// PutGuest puts the suite's guest program at path, whose folder must exist. It
// is built anew each time, which Go's build cache makes cheap, or a copy of the
// one that [GuestEnv] names.
func PutGuest(t testing.TB, path string) {
	t.Helper()
	if built := os.Getenv(GuestEnv); built != "" {
		program, err := os.ReadFile(built)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, program, 0o755); err != nil {
			t.Fatal(err)
		}
		return
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, guestPackage)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the suite's guest: %v\n%s", err, out)
	}
}
