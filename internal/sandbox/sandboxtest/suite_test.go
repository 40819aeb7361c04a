package sandboxtest_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/host/leak"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

// bareProcess is what a process without a sandbox lacks.
func bareProcess() map[sandboxtest.Promise]string {
	lacks := inProcess()
	delete(lacks, sandboxtest.OutlivesPlatform)
	for p := range lacks {
		lacks[p] = "it is a bare process"
	}
	return lacks
}

func TestProcessConforms(t *testing.T) {
	sandboxtest.Run(t, sandboxtest.Harness{
		New:   func(testing.TB, sandbox.Host) sandbox.Driver { return &processDriver{} },
		Lacks: bareProcess(),
	})
}

const (
	flawEnv  = "SANDBOXTEST_FLAW"
	jailEnv  = "SANDBOXTEST_JAIL"
	guestEnv = "SANDBOXTEST_GUEST"
)

// TestFlawed is not a test by itself: [TestTheSuiteFindsFlaws] runs it.
func TestFlawed(t *testing.T) {
	found, jail := flaw(os.Getenv(flawEnv)), os.Getenv(jailEnv) != ""
	if found == "" && !jail {
		return
	}
	lacks := bareProcess()
	if jail {
		lacks = nil
	}
	sandboxtest.Run(t, sandboxtest.Harness{
		New:     func(testing.TB, sandbox.Host) sandbox.Driver { return &processDriver{flaw: found, jail: jail} },
		Guest:   os.Getenv(guestEnv),
		Lacks:   lacks,
		Timeout: 4 * time.Second,
	})
}

// builtGuest builds the guest once for all the runs of flawed drivers.
func builtGuest(t *testing.T) string {
	t.Helper()
	path, err := buildGuest()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var guestDir string // made by buildGuest, removed by TestMain

var buildGuest = sync.OnceValues(func() (string, error) {
	var err error
	if guestDir, err = os.MkdirTemp("", "sbt-guest"); err != nil {
		return "", err
	}
	path := filepath.Join(guestDir, "guest")
	cmd := exec.Command("go", "build", "-o", path, "./guest/cmd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the guest: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if guestDir != "" {
		_ = os.RemoveAll(guestDir)
	}
	os.Exit(code)
}

// fails runs one case of the suite against a flawed driver, and wants it to
// fail with that message.
func fails(t *testing.T, name, message string, env ...string) {
	t.Helper()
	dir := t.TempDir()
	defer killUnder(t, dir)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFlawed$/^"+name+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(append(os.Environ(), guestEnv+"="+builtGuest(t), "TMPDIR="+dir), env...)
	cmd.WaitDelay = time.Second // a leaked process may hold the output open
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--- FAIL: TestFlawed/"+name) || !strings.Contains(string(out), message) {
		t.Errorf("case %s: got %v, want a failure with %q\n%s", name, err, message, out)
	}
}

// killUnder kills what a flawed driver has left running from dir.
func killUnder(t *testing.T, dir string) {
	t.Helper()
	pids, err := leak.Processes(leak.Named(dir))
	if err != nil {
		t.Error(err)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Error(err)
		}
	}
}

func TestTheSuiteFindsFlaws(t *testing.T) {
	for _, c := range []struct {
		flaw    flaw
		test    string
		message string
	}{
		{leakProcess, "StopBeforeReady", "left behind: process"},
		{leakDescriptor, "Cycles", "descriptor to /dev/null"},
		{leakGoroutine, "Cycles", "found unexpected goroutines"},
		{recordNothing, "RecordFails", "Start records nothing"},
		{recordLate, "RecoverAfterCrash", "left behind: process"},
		{recordUnheard, "RecordFails", "Start did not mind"},
		{ignoreExit, "ExitsAtOnce", "want code 7"},
		{ignoreExit, "ExitSignal", "want signal 11"},
		{ignoreContext, "NeverListens", "Ready goes on after"},
		{quantise, "ExitsAtOnce", "Ready told only after"},
		{bufferOutput, "OutputWithSlowReader", "bytes of output are buffered"},
		{closeOutput, "OutputStaysOpen", "the driver closed Spec.Output"},
		{stopOnce, "StopIsIdempotent", "stopped before"},
		{recoverNothing, "RecoverTakesOver", "Recover: instance is gone"},
		{recoverAnything, "RecoverOfOneThatExited", "want ErrGone"},
		{ignoreBoot, "RecoverSparesAnotherBoot", "want ErrGone"},
	} {
		t.Run(string(c.flaw)+"/"+c.test, func(t *testing.T) {
			t.Parallel()
			fails(t, c.test, c.message, flawEnv+"="+string(c.flaw))
		})
	}
}

// TestTheSuiteFindsWhatIsNotIsolated runs the function in a folder, as root,
// and claims that to be a sandbox.
func TestTheSuiteFindsWhatIsNotIsolated(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("chroot needs root")
	}
	for name, message := range map[string]string{
		"Program":            "want 1234:2345",
		"ProcessesAreHidden": "want the function's alone",
		"ReadOnlyRoot":       "the function wrote /new",
		"NoNetwork":          "on the host",
		"NoPrivileges":       "want no capability",
		"HostIsHidden":       "the instance has the host's name",
		"TmpIsPrivate":       "another instance finds /tmp/mine",
		"BoundedDisk":        "over its limit",
		"MemoryLimit":        "512 MiB were allocated",
		"PidsLimit":          "processes were started",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fails(t, name, message, jailEnv+"=1")
		})
	}
}

// TestTheSuiteFindsWhatOnlyLooksContained: a function that is killed when it
// makes processes has no limit of them.
func TestTheSuiteFindsWhatOnlyLooksContained(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("chroot needs root")
	}
	fails(t, "PidsLimit", "not for want of a thread", jailEnv+"=1", flawEnv+"="+string(killForker))
}
