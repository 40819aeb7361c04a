package setup_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/sandbox/container/script"
	"github.com/unifaas/unifaas/internal/sandbox/container/setup"
)

func example() *setup.Plan {
	return &setup.Plan{
		Argv: []string{"/app"}, Env: []string{"PATH=/bin:relative:/usr/bin"}, Dir: "/", Root: true,
		Masked: []string{"/proc/kcore", "/sys/firmware"}, ReadOnly: []string{"/proc/sys"},
		Filter: make([]byte, 8), LastCapability: 40,
	}
}

// steps returns a plan's steps, each once, in their order.
func steps(t *testing.T, p *setup.Plan) []string {
	t.Helper()
	program, err := setup.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Compact(program.Steps)
}

// TestPrivilegesGoBeforeTheFunctionComes: nothing is done with the function
// there that needs a privilege, and none is given up too early.
func TestPrivilegesGoBeforeTheFunctionComes(t *testing.T) {
	all := steps(t, example())
	last := -1
	for _, step := range []string{
		"wait at the gate", "make cgroup namespace", "mount root file system", "mask /proc/kcore", "mask /sys/firmware",
		"pivot root", "leave the host's root", "let go of the host's files", "empty the bounding set", "become user 0",
		"give up capabilities", "hide the first process", "enter working folder /", "give up new privileges",
		"install the system call filter", "fork", "execute /app", "answer", "wait for the function",
	} {
		at := slices.Index(all, step)
		if at <= last {
			t.Errorf("step %q is at %d, after one at %d:\n%s", step, at, last, strings.Join(all, "\n"))
		}
		last = at
	}
}

// TestTheFunctionIsConfined: by its own process, just before it is executed, and
// where there is no profile, not at all.
func TestTheFunctionIsConfined(t *testing.T) {
	p := example()
	const step = "confine by the AppArmor profile docker-default"
	if slices.Contains(steps(t, p), step) {
		t.Error("it is confined by a profile that nobody named")
	}
	p.AppArmor = "docker-default"
	program, err := setup.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Compact(program.Steps)
	fork, confine, execute := slices.Index(all, "fork"), slices.Index(all, step), slices.Index(all, "execute /app")
	if fork < 0 || confine != fork+1 || execute != confine+1 {
		t.Errorf("fork is step %d, confine %d, execute %d", fork, confine, execute)
	}
	for _, text := range []string{"/proc/self/attr/apparmor/exec\x00", "/proc/self/attr/exec\x00", "exec docker-default\x00"} {
		if !strings.Contains(string(program.Memory), text) {
			t.Errorf("%q is not in the script", text)
		}
	}
}

func TestAProgramIsLookedForInThePath(t *testing.T) {
	p := example()
	p.Argv = []string{"app"}
	program, err := setup.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"/bin/app\x00": true, "/usr/bin/app\x00": true, "relative/app\x00": false} {
		if got := strings.Contains(string(program.Memory), path); got != want {
			t.Errorf("%q is tried: %v", path, got)
		}
	}
	if !slices.Contains(program.Steps, "execute app: not found in PATH") {
		t.Error("nothing is said when it is nowhere")
	}
}

func TestWhatCantBeWritten(t *testing.T) {
	p := example()
	p.Argv = nil
	if _, err := setup.Compile(p); err == nil {
		t.Error("no command, no error")
	}
	p = example()
	p.Env = []string{strings.Repeat("x", script.MaxSize)}
	if _, err := setup.Compile(p); !errors.As(err, new(script.SizeError)) {
		t.Errorf("an environment of %d bytes: got %v", script.MaxSize, err)
	}
}
