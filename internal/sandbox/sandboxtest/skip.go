package sandboxtest

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// RequireEnv names the environment variable that lists, separated by commas,
// the sandboxes that must be tested: there a skip is a failure.
const RequireEnv = "UNIFAAS_REQUIRE"

// skippedEnv names the environment variable that holds the path of a file to
// which each skip adds a line: `go test` keeps quiet about them.
const skippedEnv = "UNIFAAS_SKIPPED"

// A Reason tells why a test can't run here. The types below are all there
// are, so that "skipped" always means one of a few known things.
type Reason interface{ reason() string }

// NotRoot means that the test needs root for What.
type NotRoot struct{ What string }

func (r NotRoot) reason() string { return "needs root to " + r.What + "; run the tests as root" }

// NotWorking means that the driver's probe says that the sandbox can't run here.
type NotWorking struct{ Why, Remedy string }

func (r NotWorking) reason() string {
	if r.Remedy == "" {
		return "does not work here: " + r.Why
	}
	return "does not work here: " + r.Why + "; " + r.Remedy
}

// Missing means that a program or a file that the user supplies is not there.
type Missing struct{ What, Remedy string }

func (r Missing) reason() string { return r.What + " is missing; " + r.Remedy }

// Skip skips test t of the named sandbox for reason r, and fails it instead
// where [RequireEnv] lists the sandbox.
func Skip(t testing.TB, sandbox string, r Reason) {
	t.Helper()
	message := fmt.Sprintf("sandbox %q: %s", sandbox, r.reason())
	if Required(sandbox) {
		t.Fatalf("%s lists %s, so this skip is a failure: %s", RequireEnv, sandbox, message)
	}
	if path := os.Getenv(skippedEnv); path != "" {
		if err := note(path, t.Name()+": "+message); err != nil {
			t.Fatalf("note the skip: %v", err)
		}
	}
	t.Skip(message)
}

// note adds a line to the file at path, in one write: other processes add
// theirs at the same time.
func note(path, line string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line + "\n")
	return errors.Join(err, f.Close())
}

// Required reports whether the named sandbox must be tested here.
func Required(sandbox string) bool {
	return slices.ContainsFunc(strings.Split(os.Getenv(RequireEnv), ","), func(name string) bool {
		return strings.TrimSpace(name) == sandbox
	})
}
