package sandboxtest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/sandbox"
)

// A Promise is something that sandboxes give and that the suite checks.
type Promise string

// The promises. A driver gives all that its harness does not say it lacks.
const (
	// Program: the function's own program runs, with its root file system,
	// argv, environment and working folder, in a process table of its own.
	Program Promise = "program"
	// Users: it runs as the image's user.
	Users Promise = "users"
	// Proc: it sees itself, and no other, in /proc.
	Proc Promise = "proc"
	// HalfClose: what it sends on a connection of which the other side has closed
	// its half arrives.
	HalfClose Promise = "half-close"
	// BulkOutput: what it writes arrives whole and fast, and it can do other
	// things meanwhile.
	BulkOutput Promise = "bulk output"
	// ExitStatus: the exit status or the signal with which it ended is told.
	ExitStatus Promise = "exit status"
	// ReadOnlyRoot: it can't change its root file system.
	ReadOnlyRoot Promise = "read-only root"
	// BoundedDisk: what it writes, in /tmp and elsewhere, is bounded.
	BoundedDisk Promise = "bounded disk"
	// NoNetwork: it reaches nothing but its own loopback interface.
	NoNetwork Promise = "no network"
	// NoPrivileges: it has no capability and can't gain any.
	NoPrivileges Promise = "no privileges"
	// MemoryLimit: over its limit it ends.
	MemoryLimit Promise = "memory limit"
	// OutOfMemory: that it ended over its limit is told.
	OutOfMemory Promise = "out of memory"
	// PidsLimit: the number of its processes is bounded.
	PidsLimit Promise = "pids limit"
	// CPULimit: its processor time is bounded.
	CPULimit Promise = "cpu limit"
	// OutlivesPlatform: an instance lives on when the platform's process is
	// killed, and another process takes it over, or clears up after a start
	// that was cut short at any step.
	OutlivesPlatform Promise = "outlives the platform"
	// EndsWithBoot: nothing of an instance but files outlives the machine's
	// run, so that what a record of another boot names is left alone.
	EndsWithBoot Promise = "ends with the boot"
)

// A Harness is what a driver's test hands to the suite.
type Harness struct {
	// New returns a driver on host. The suite calls it several times with the
	// same host, as platforms that follow each other would. A driver that is
	// an io.Closer is closed when its test ends.
	New func(t testing.TB, host sandbox.Host) sandbox.Driver
	// Die, if not nil, lets go of what a platform has of an instance for itself
	// and its death would free, before another one recovers it. The instance is
	// not asked anything afterwards.
	Die func(sandbox.Instance)
	// Exe is the Host's Exe; default is the test's own binary.
	Exe string
	// Guest is the path of the suite's guest, [guestPackage], as a static
	// binary; default is to build it.
	Guest string
	// Lacks says which promises the driver does not give, and why not.
	Lacks map[Promise]string
	// Timeout bounds each step that should take an instant, generously since
	// the machine is shared; default a minute.
	Timeout time.Duration
}

// Run runs the conformance suite. A sandbox that does not work here is
// skipped; see [Skip].
func Run(t *testing.T, h Harness) {
	if h.Timeout == 0 {
		h.Timeout = time.Minute
	}
	if h.Exe == "" {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		h.Exe = exe
	}
	s := &suite{harness: h, testName: t.Name()}
	if crashing(t, s) {
		return
	}
	probe := s.fixture(t)
	ctx, cancel := context.WithTimeout(t.Context(), h.Timeout)
	defer cancel()
	name := probe.driver.Name()
	if c := probe.driver.Probe(ctx); !c.Works {
		Skip(t, name, NotWorking{Why: c.Reason, Remedy: c.Remedy})
	}
	s.rootfs = buildRootfs(t, h.Guest)
	for _, c := range allCases() {
		t.Run(c.name, func(t *testing.T) {
			for _, p := range c.needs {
				if why, lacks := h.Lacks[p]; lacks {
					t.Skipf("sandbox %q does not give %q: %s", name, p, why)
				}
			}
			c.run(s.fixture(t))
		})
	}
}

// A suite is one run over one driver.
type suite struct {
	harness  Harness
	testName string // of the test that called Run
	rootfs   string
}

// A testCase is one thing to check, where the driver gives what it needs.
type testCase struct {
	name  string
	needs []Promise
	run   func(*fixture)
}

func allCases() []testCase {
	var all []testCase
	for _, part := range [][]testCase{
		lifecycleCases, stopCases, httpCases, outputCases, insideCases, limitCases, recordCases, recoverCases, cycleCases,
	} {
		all = append(all, part...)
	}
	return all
}

// buildRootfs makes the root file system that every instance of the suite
// has.
func buildRootfs(t *testing.T, guest string) string {
	t.Helper()
	rootfs := filepath.Join(shortTempDir(t), "rootfs")
	for _, dir := range []string{"dev", "etc", "proc", "sys", "tmp", "work"} {
		if err := os.MkdirAll(filepath.Join(rootfs, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(rootfs, "tmp"), 0o1777); err != nil {
		t.Fatal(err)
	}
	passwd := "root:x:0:0:root:/:/bin/sh\nguest:x:1234:2345:guest:/work:/bin/sh\n"
	if err := os.WriteFile(filepath.Join(rootfs, "etc", "passwd"), []byte(passwd), 0o644); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(rootfs, "guest")
	if guest != "" {
		if err := os.Link(guest, program); err != nil {
			t.Fatal(err)
		}
		return rootfs
	}
	PutGuest(t, program)
	return rootfs
}

// shortTempDir is a temporary folder whose path leaves room for a socket's
// name, which t.TempDir's does not.
func shortTempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sbt") //nolint:usetesting // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the test's folder: %v", err)
		}
	})
	return dir
}
