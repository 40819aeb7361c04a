package sandboxtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/unifaas/unifaas/internal/sandbox"
)

// crashEnv names the variable that turns a run of the suite into a platform
// that starts one instance and is killed on the way; it holds the path of a
// crashJob.
const crashEnv = "UNIFAAS_SANDBOXTEST_CRASH"

// A crashJob is what such a platform does.
type crashJob struct {
	Base   string // the fixture's folder
	Node   string
	Record sandbox.Record // without State
	Dir    string         // the instance's folder
	Log    string         // the FIFO for its output
	State  string         // file for the state, written at each record
	// KillAt is the call of Record, counted from 0, before which the platform
	// is killed; if there are fewer, it is killed once the instance is ready.
	KillAt int
}

// crashing reports whether this process is such a platform. It then does not
// come back but by a failure.
func crashing(t *testing.T, s *suite) bool {
	path := os.Getenv(crashEnv)
	if path == "" {
		return false
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var job crashJob
	if err := json.Unmarshal(data, &job); err != nil {
		t.Fatal(err)
	}
	f := s.fixtureIn(t, job.Base, job.Node)
	f.driver = f.freshDriver()
	output, err := os.OpenFile(job.Log, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	inst, err := f.driver.Start(f.ctx(), f.prepare(job.Record.Revision), sandbox.Spec{
		ID: job.Record.ID, Revision: job.Record.Revision, Dir: job.Dir, Output: output,
		Record: func(state any) error {
			if calls == job.KillAt {
				die(t)
			}
			calls++
			return writeState(job.State, state)
		},
	})
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	if err := inst.Ready(f.ctx()); err != nil {
		t.Fatalf("Ready: %v", err)
	}
	if err := os.WriteFile(job.State+".ready", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	die(t)
	return true
}

// die is kill -9.
func die(t *testing.T) {
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {}
}

func writeState(path string, state any) error {
	data, err := json.Marshal(state)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// recoverAfterCrash kills a platform before each of its records in turn and
// lets another recover, until a start comes through to its end.
func recoverAfterCrash(f *fixture) {
	before := f.snapshot()
	for k := range maxRecords {
		rec, ready, out := f.crash(k)
		inst, err := f.driver.Recover(f.ctx(), rec)
		switch {
		case err == nil:
			f.useRecovered(inst, rec, out, ready)
		case !errors.Is(err, sandbox.ErrGone):
			f.Fatalf("Recover of a start killed before record %d: got %v, want ErrGone or the instance", k, err)
		case ready:
			f.Fatalf("Recover of an instance that was ready: %v\noutput: %s", err, out.text())
		}
		f.wantGone(f.freshDriver(), rec)
		f.wantNothingNew(before, rec.ID, fmt.Sprintf("recovered after a crash before record %d", k))
		if ready {
			return
		}
	}
	f.Fatalf("Start calls Record more than %d times", maxRecords)
}

// useRecovered checks an instance that was taken over and stops it. One that
// was not ready when the platform died may be taken over as well.
func (f *fixture) useRecovered(inst sandbox.Instance, rec sandbox.Record, out *collector, ready bool) {
	f.Helper()
	r := f.running(inst, sandbox.Spec{ID: rec.ID, Revision: rec.Revision, Dir: rec.Dir}, nil, out)
	err := r.Ready(f.ctx())
	if err == nil {
		r.wantHello()
		r.get(query("/say", "text", "outlived the platform"))
		out.want(f, "outlived the platform")
	} else if ready {
		f.Errorf("Ready of an instance that was ready: %v\noutput: %s", err, out.text())
	}
	f.stop(inst)
	r.wantExit()
	if _, err := r.request(f.ctx(), http.MethodGet, "/hello", nil); err == nil {
		f.Error("a stopped instance answers")
	}
}

// crash runs a platform that is killed before record k and returns the record
// that it leaves, and whether its instance became ready.
func (f *fixture) crash(k int) (rec sandbox.Record, ready bool, out *collector) {
	f.Helper()
	spec, record := f.newSpec(f.revision())
	log := filepath.Join(f.base, crashLogName(spec.ID))
	if err := syscall.Mkfifo(log, 0o600); err != nil {
		f.Fatal(err)
	}
	out = f.collectFrom(log)
	job := crashJob{
		Base: f.base, Node: f.host.Node, Record: record.read(f), Dir: spec.Dir,
		Log: log, State: filepath.Join(f.base, spec.ID+".state"), KillAt: k,
	}
	data, err := json.Marshal(job)
	if err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(f.base, spec.ID+".job")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		f.Fatal(err)
	}
	f.runPlatform(path)
	rec = record.read(f)
	if rec.State, err = os.ReadFile(job.State); err != nil && !os.IsNotExist(err) {
		f.Fatal(err)
	}
	_, err = os.Stat(job.State + ".ready")
	return rec, err == nil, out
}

// runPlatform runs this test's binary once more, for the job at path, and
// checks that it died by its own hand.
func (f *fixture) runPlatform(path string) {
	f.Helper()
	exe, err := os.Executable()
	if err != nil {
		f.Fatal(err)
	}
	log, err := os.Create(path + ".log") // a file: an instance may keep it open
	if err != nil {
		f.Fatal(err)
	}
	defer log.Close()
	cmd := exec.CommandContext(f.ctx(), exe, "-test.run="+exactly(f.suite.testName), "-test.v")
	cmd.Env = append(os.Environ(), crashEnv+"="+path)
	cmd.Stdout, cmd.Stderr = log, log
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL && f.Context().Err() == nil {
			return
		}
	}
	said, _ := os.ReadFile(path + ".log")
	f.Fatalf("the platform was to die by SIGKILL: %v\n%s", err, said)
}

// exactly returns the -test.run pattern of one test.
func exactly(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}
