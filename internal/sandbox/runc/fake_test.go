package runc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/leak"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

// The scripts of this file stand in for runtimes that fail: a real one does
// not do so on demand. What works is tested with the real one.

// preamble finds the verb and the last argument, the container's id, and
// passes all else on to the real runtime as the function "real".
const preamble = `#!/bin/sh
real() { exec runc "$@"; }
verb=version; bundle=; pidfile=; root=; log=
for a; do
	case "$prev" in --bundle) bundle=$a;; --pid-file) pidfile=$a;; --root) root=$a;; --log) log=$a;; esac
	case "$a" in create|run|delete) [ "$prev" = --bundle ] || verb=$a;; esac
	prev=$a id=$a
done
`

func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runtime")
	if err := os.WriteFile(path, []byte(preamble+body+"\nreal \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

type rig struct {
	*Driver
	t   *testing.T
	rev *faas.Revision
}

// newRig returns a driver whose host must be as before when the test ends.
func newRig(t *testing.T, runtime string) *rig {
	t.Helper()
	if os.Geteuid() != 0 {
		sandboxtest.Skip(t, Name, sandboxtest.NotRoot{What: "make containers"})
	}
	if _, err := findExecutable(Name, os.Getenv("PATH")); err != nil {
		sandboxtest.Skip(t, Name, sandboxtest.Missing{What: Name, Remedy: remedyFor(Name, err)})
	}
	dir := t.TempDir()
	host := sandbox.Host{
		Node: fmt.Sprintf("r%x", time.Now().UnixNano()&0xffffff), StateDir: dir, RunDir: filepath.Join(dir, "run"),
		Logger: slog.New(slog.DiscardHandler),
	}
	options := []leak.Option{leak.Named(host.Node), leak.NamedUnder(dir), leak.Descendants(os.Getpid())}
	before, err := leak.Snapshot(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		left, err := leak.Settle(ctx, before, options...)
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %q, %v", left, err)
		}
	})
	rev, err := probeRevision(dir)
	if err != nil {
		t.Fatal(err)
	}
	rev.Function.Runtime = runtime
	return &rig{New(host), t, rev}
}

// start starts an instance of a function, past the check of its runtime.
func (r *rig) start(ctx context.Context, record func(any) error) (*instance, sandbox.Record, error) {
	r.t.Helper()
	rt, err := r.runtimeNamed(runtimeOf(r.rev))
	if err != nil {
		r.t.Fatal(err)
	}
	spec, err := newSpec(r.rev)
	if err != nil {
		r.t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	id := r.host.Node + "-1"
	dir := filepath.Join(r.host.RunDir, "box")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		r.t.Fatal(err)
	}
	i, err := r.Driver.start(ctx, &artifact{rev: r.rev, runtime: rt, spec: spec},
		sandbox.Spec{ID: id, Revision: r.rev, Dir: dir, Output: null, Record: record}, rt.create)
	return i, sandbox.Record{ID: id, Sandbox: Name, Revision: r.rev, Dir: dir}, err
}

func forgetful(any) error { return nil }

func TestRuntimeFails(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"says why":              {`[ $verb = create ] && { echo '{"level":"error","msg":"no space left"}' >"$log"; exit 1; }`, "no space left"},
		"prints garbage":        {`[ $verb = create ] && { head -c 5000 /dev/urandom >"$log"; exit 3; }`, "exit status 3"},
		"version fails":         {`[ $verb = version ] && exit 4`, "--version: exit status 4"},
		"does nothing":          {`[ $verb = create ] && exit 0`, "pid: no such file"},
		"no pid":                {`[ $verb = create ] && { echo what >"$pidfile"; exit 0; }`, "not the number of a process"},
		"pid of the machine":    {`[ $verb = create ] && { echo 1 >"$pidfile"; exit 0; }`, "not the number of a process"},
		"pid of another":        {fmt.Sprintf(`[ $verb = create ] && { echo %d >"$pidfile"; exit 0; }`, os.Getpid()), "not in the container's control group"},
		"pid that nobody has":   {`[ $verb = create ] && { echo 4194303 >"$pidfile"; exit 0; }`, "gone"},
		"fails when it is done": {`[ $verb = create ] && { runc "$@"; exit 5; }`, "exit status 5"},
		"delete fails":          {`[ $verb = delete ] && { echo "cannot delete" >&2; exit 6; }; [ $verb = version ] && { echo other; exit 0; }`, "cannot delete"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, script(t, c.body))
			_, err := r.Prepare(t.Context(), r.rev)
			if faas.KindOf(err) != faas.KindUnavailable || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), r.rev.Function.Runtime) {
				t.Errorf("got %v (%v), want %q", err, faas.KindOf(err), c.want)
			}
			if strings.Contains(fmt.Sprint(err), "\n") {
				t.Errorf("the error has more than one line: %q", err)
			}
			if name == "delete fails" { // which is what the test made: the real one can
				r.rev.Function.Runtime = Name
				if err := r.Sweep(t.Context(), nil); err == nil {
					t.Error("Sweep: got no error of a runtime that can't delete")
				}
				if err := removeState(r.runtimesDir()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestRuntimeHangs: it is killed with what it has started, wherever it hangs.
func TestRuntimeHangs(t *testing.T) {
	for name, body := range map[string]string{
		"at once":           `[ $verb = create ] && { sleep 1000 & sleep 1000; }`,
		"when it is done":   `[ $verb = create ] && { runc "$@"; sleep 1000; }`,
		"with its own init": `[ $verb = create ] && { runc "$@" & sleep 1000; }`,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, script(t, body))
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			begin := time.Now()
			_, rec, err := r.start(ctx, forgetful)
			if !errors.Is(err, context.DeadlineExceeded) || faas.KindOf(err) != faas.KindTimeout {
				t.Errorf("got %v (%v)", err, faas.KindOf(err))
			}
			if took := time.Since(begin); took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
			if _, err := r.Recover(t.Context(), rec); !errors.Is(err, sandbox.ErrGone) {
				t.Errorf("Recover: got %v", err)
			}
		})
	}
}

func TestUnknownRuntime(t *testing.T) {
	for runtime, want := range map[string]string{
		"no-such-runtime":  "apt-get install no-such-runtime",
		"/no/such/runtime": "correct runtime in function.toml",
		"bin/runc":         "neither a plain name nor an absolute path",
		"/etc/passwd":      "not an executable file",
		"/etc":             "not an executable file",
	} {
		r := newRig(t, runtime)
		_, err := r.Prepare(t.Context(), r.rev)
		if faas.KindOf(err) != faas.KindUnavailable || !strings.Contains(fmt.Sprint(err), want) || !strings.Contains(fmt.Sprint(err), `function "probe"`) {
			t.Errorf("%s: got %v (%v), want %q", runtime, err, faas.KindOf(err), want)
		}
	}
}

// TestRuntimeAppears: a bad answer is not kept, and a good one only as long as
// the executable stays the same.
func TestRuntimeAppears(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runtime")
	r := newRig(t, path)
	if _, err := r.Prepare(t.Context(), r.rev); err == nil {
		t.Fatal("a missing runtime works")
	}
	if err := os.Rename(script(t, ""), path); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Prepare(t.Context(), r.rev); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(script(t, "exit 9 # broken"), path); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Prepare(t.Context(), r.rev); err == nil {
		t.Error("a runtime that was replaced by a broken one works")
	}
}

// TestForeignRuntimeIsAsked: one that is not runc deletes its containers itself.
func TestForeignRuntimeIsAsked(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "deleted")
	r := newRig(t, script(t, `[ $verb = version ] && { echo "other 1.0"; exit 0; }; [ $verb = delete ] && echo $id >>`+mark))
	if _, err := r.Prepare(t.Context(), r.rev); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(mark); err != nil || !strings.HasPrefix(string(text), r.host.Node+"-probe-") {
		t.Errorf("deleted: got %q, %v", text, err)
	}
}

// TestSweep: a platform that has lost its records finds everything by names.
func TestSweep(t *testing.T) {
	r := newRig(t, Name)
	i, rec, err := r.start(t.Context(), forgetful)
	if err != nil {
		t.Fatal(err)
	}
	d := New(r.host)
	if err := d.Sweep(t.Context(), map[string]bool{rec.ID: true}); err != nil {
		t.Fatal(err)
	}
	if i.hasEnded() {
		t.Fatal("Sweep ended an instance that is known")
	}
	if err := d.Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	i.Wait()
	if err := os.RemoveAll(rec.Dir); err != nil {
		t.Fatal(err)
	}
	if err := i.Stop(t.Context()); err != nil {
		t.Errorf("Stop: %v", err)
	}
}

// TestRecoverBeforeThePid is a platform killed while its runtime was at work:
// the record names all but the process.
func TestRecoverBeforeThePid(t *testing.T) {
	r := newRig(t, Name)
	var first any
	i, rec, err := r.start(t.Context(), func(state any) error {
		if first == nil {
			first = state
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	rec.State = encode(t, first)
	for range 2 {
		if _, err := New(r.host).Recover(t.Context(), rec); !errors.Is(err, sandbox.ErrGone) {
			t.Errorf("Recover: got %v", err)
		}
	}
	if exit := i.Wait(); exit.Code == 0 {
		t.Errorf("exit: got %+v", exit)
	}
	if err := i.Stop(t.Context()); err != nil {
		t.Errorf("Stop: %v", err)
	}
}
