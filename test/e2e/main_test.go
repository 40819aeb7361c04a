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
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/dockertest"
)

// binariesEnv names the variable with the folder of the binaries, for the
// processes that this one starts.
const binariesEnv = "UNIFAAS_E2E_BINARIES"

// TestMain builds what the tests run, and runs them beside a Docker Engine,
// in a network of their own.
func TestMain(m *testing.M) {
	if os.Getenv(binariesEnv) != "" {
		os.Exit(dockertest.Main(tests{m}))
	}
	// Here, since in the tests' network there are no modules to be had.
	b, err := build()
	if err == nil {
		err = os.Setenv(binariesEnv, b.dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := dockertest.Main(tests{m})
	_ = os.RemoveAll(b.dir)
	os.Exit(code)
}

// tests are the tests and the end of the platform that they share, which
// fails the run when it does not end well or leaves anything.
type tests struct{ *testing.M }

func (t tests) Run() int {
	code := t.M.Run()
	if err := stopCommon(); err != nil {
		fmt.Fprintln(os.Stderr, "the tests' common platform:", err)
		code = max(code, 1)
	}
	return code
}

// binaries are the programs that the tests run.
type binaries struct {
	dir      string
	unifaas  string
	function string // see folder function
	artefact string // a function as the paper's artefact has them
}

func binariesIn(dir string) *binaries {
	return &binaries{dir, filepath.Join(dir, "unifaas"), filepath.Join(dir, "function"), filepath.Join(dir, "artefact")}
}

// build makes the binaries once, where every user may execute them.
var build = sync.OnceValues(func() (_ *binaries, err error) {
	if dir := os.Getenv(binariesEnv); dir != "" {
		return binariesIn(dir), nil
	}
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
	b := binariesIn(dir)
	if given := os.Getenv("UNIFAAS_BINARY"); given != "" {
		// Copied, so that whoever may not enter its folder can run it too.
		err = copyFile(b.unifaas, given)
	} else {
		err = goBuild(b.unifaas, "../../cmd/unifaas")
	}
	return b, errors.Join(err, goBuild(b.function, "./function"), goBuild(b.artefact, "../../internal/sandbox/docker/testdata/artefact"))
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
