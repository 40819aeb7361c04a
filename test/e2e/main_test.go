package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

// TestMain stops the platform that the tests share, and fails the run when it
// does not end well or leaves anything.
func TestMain(m *testing.M) {
	code := m.Run()
	if err := stopCommon(); err != nil {
		fmt.Fprintln(os.Stderr, "the tests' common platform:", err)
		code = max(code, 1)
	}
	if b, err := build(); err == nil {
		_ = os.RemoveAll(b.dir)
	}
	os.Exit(code)
}

// binaries are the programs that the tests run.
type binaries struct {
	dir      string
	unifaas  string
	function string // see folder function
}

// build makes the binaries once, where every user may execute them.
var build = sync.OnceValues(func() (_ *binaries, err error) {
	dir, err := os.MkdirTemp("", "unifaas-e2e-bin-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	b := &binaries{dir, filepath.Join(dir, "unifaas"), filepath.Join(dir, "function")}
	if given := os.Getenv("UNIFAAS_BINARY"); given != "" {
		// Copied, so that whoever may not enter its folder can run it too.
		err = copyFile(b.unifaas, given)
	} else {
		err = goBuild(b.unifaas, "../../cmd/unifaas")
	}
	return b, errors.Join(err, goBuild(b.function, "./function"))
})

func goBuild(to, source string) error {
	cmd := exec.Command("go", "build", "-o", to, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", source, err, out)
	}
	return nil
}

func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

func binariesOf(t testing.TB) *binaries {
	t.Helper()
	b, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// probe asks doctor once what works here.
var probe = sync.OnceValues(func() ([]control.Sandbox, error) {
	b, err := build()
	if err != nil {
		return nil, err
	}
	out, err := exec.Command(b.unifaas, "doctor", "--json").Output()
	if err != nil && len(out) == 0 {
		return nil, fmt.Errorf("doctor: %w", err)
	}
	var found []control.Sandbox
	if err := json.Unmarshal(out, &found); err != nil {
		return nil, fmt.Errorf("doctor printed %q: %w", out, err)
	}
	return found, nil
})

// needsGVisor skips a test where gVisor does not work.
func needsGVisor(t testing.TB) {
	t.Helper()
	needsSandbox(t, "gvisor")
}

// needsSandbox skips a test where a sandbox does not work.
func needsSandbox(t testing.TB, name string) {
	t.Helper()
	found, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range found {
		switch {
		case s.Name != name:
		case s.Works:
			return
		default:
			sandboxtest.Skip(t, name, sandboxtest.NotWorking{Why: s.Reason, Remedy: s.Remedy})
		}
	}
	t.Fatalf("doctor knows no %s: %+v", name, found)
}

func needsRoot(t testing.TB, what string) {
	t.Helper()
	if os.Geteuid() != 0 {
		sandboxtest.Skip(t, "gvisor", sandboxtest.NotRoot{What: what})
	}
}

// setting returns the number in an environment variable.
func setting(t testing.TB, name string, standard int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return standard
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
