package runc

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/process"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// crashEnv holds the path of the job of a run of this test's binary that is a
// platform which is killed while its runtime is at work.
const crashEnv = "UNIFAAS_RUNC_CRASH"

// A crashJob is what such a platform does.
type crashJob struct {
	Host   sandbox.Host
	Rev    *faas.Revision
	Record string // file for the recorded state
}

// TestPlatformDiesWithItsRuntime kills a platform whose runtime has made a
// container and not yet come back: the runtime goes too, and a recovery with
// the record of that moment cleans up the container.
func TestPlatformDiesWithItsRuntime(t *testing.T) {
	if path := os.Getenv(crashEnv); path != "" {
		crash(t, path)
		return
	}
	made := filepath.Join(t.TempDir(), "made")
	r := newRig(t, script(t, `[ $verb = create ] && { runc "$@"; echo $$ >`+made+`.new; mv `+made+`.new `+made+`; exec sleep 1000; }`))
	job := crashJob{Host: r.host, Rev: r.rev, Record: filepath.Join(t.TempDir(), "state")}
	job.Host.Logger = nil
	path := filepath.Join(t.TempDir(), "job")
	if err := os.WriteFile(path, encode(t, job), 0o600); err != nil {
		t.Fatal(err)
	}
	platform := exec.Command(os.Args[0], "-test.run=^TestPlatformDiesWithItsRuntime$")
	platform.Env = append(os.Environ(), crashEnv+"="+path)
	if err := platform.Start(); err != nil {
		t.Fatal(err)
	}
	var runtime int
	eventually(t, "the runtime has made the container", func() bool {
		text, err := os.ReadFile(made)
		if err == nil {
			runtime, err = parsePid(string(text))
		}
		return err == nil
	})
	if err := platform.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = platform.Wait() // it was killed
	eventually(t, "the runtime has ended, too", func() bool {
		s, err := process.Look(runtime)
		return err != nil || s.State == 'Z'
	})
	state, err := os.ReadFile(job.Record)
	if err != nil {
		t.Fatal(err)
	}
	rec := sandbox.Record{ID: r.host.Node + "-1", Sandbox: Name, Revision: r.rev, Dir: filepath.Join(r.host.RunDir, "box"), State: state}
	if _, err := r.Recover(t.Context(), rec); !errors.Is(err, sandbox.ErrGone) {
		t.Errorf("Recover: got %v", err)
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// crash is that platform.
func crash(t *testing.T, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var job crashJob
	if err := json.Unmarshal(text, &job); err != nil {
		t.Fatal(err)
	}
	r := &rig{New(job.Host), t, job.Rev}
	_, _, err = r.start(t.Context(), func(state any) error { return os.WriteFile(job.Record, encode(t, state), 0o600) })
	t.Fatalf("it came to its end: %v", err)
}
