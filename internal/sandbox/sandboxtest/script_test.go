package sandboxtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

var errScripted = errors.New("scripted")

func revision() *faas.Revision {
	return &faas.Revision{Function: faas.Function{Ref: faas.NewRef("f"), Command: []string{"f"}}, Digest: "sha256:00"}
}

func spec(id string) sandbox.Spec {
	return sandbox.Spec{ID: id, Revision: revision(), Record: func(any) error { return nil }}
}

func start(t *testing.T, d sandbox.Driver, id string) (sandbox.Instance, error) {
	t.Helper()
	artifact, err := d.Prepare(t.Context(), revision())
	if err != nil {
		return nil, err
	}
	return d.Start(t.Context(), artifact, spec(id))
}

func mustStart(t *testing.T, d sandbox.Driver, id string) sandbox.Instance {
	t.Helper()
	inst, err := start(t, d, id)
	if err != nil {
		t.Fatal(err)
	}
	return inst
}

// get sends one request over a connection of its own.
func get(ctx context.Context, inst sandbox.Instance) (string, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return inst.Dial(ctx) },
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://f/hello", nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// TestEveryStepOfAStartFails fails each record and each acquisition in turn
// and wants the world to be empty after each.
func TestEveryStepOfAStartFails(t *testing.T) {
	for _, step := range []sandboxtest.Step{sandboxtest.StepStart, sandboxtest.StepRecord, sandboxtest.StepAcquire} {
		for k := range sandboxtest.FakeResources + 1 {
			d := sandboxtest.NewFake(sandboxtest.FakeOptions{
				Script: sandboxtest.At(step, k, sandboxtest.Fault{Err: errScripted}),
			})
			inst, err := start(t, d, "n-1")
			if d.Calls(step) <= k {
				if err != nil || len(d.World().Held()) != sandboxtest.FakeResources {
					t.Errorf("%s %d, never reached: %v, holds %q", step, k, err, d.World().Held())
				}
				if err := inst.Stop(t.Context()); err != nil {
					t.Error(err)
				}
			} else if !errors.Is(err, errScripted) {
				t.Errorf("%s %d: got %v, want the scripted error", step, k, err)
			}
			if held := d.World().Held(); len(held) > 0 {
				t.Errorf("%s %d: left %q", step, k, held)
			}
		}
	}
}

// TestFaultyInterferesAtEveryStep does the same through the decorator.
func TestFaultyInterferesAtEveryStep(t *testing.T) {
	for _, step := range []sandboxtest.Step{
		sandboxtest.StepPrepare, sandboxtest.StepStart, sandboxtest.StepRecord, sandboxtest.StepReady,
		sandboxtest.StepDial, sandboxtest.StepStop, sandboxtest.StepRecover,
	} {
		fake := sandboxtest.NewFake(sandboxtest.FakeOptions{})
		d := sandboxtest.Faulty(fake, sandboxtest.At(step, 0, sandboxtest.Fault{Err: errScripted}))
		if err := lifecycle(t, d); !errors.Is(err, errScripted) {
			t.Errorf("%s: got %v, want the scripted error", step, err)
		}
		if err := lifecycle(t, d); err != nil { // the script is over
			t.Errorf("%s, second time: %v", step, err)
		}
	}
	probe := sandboxtest.Faulty(sandboxtest.NewFake(sandboxtest.FakeOptions{}),
		sandboxtest.Always(sandboxtest.StepProbe, sandboxtest.Fault{Err: errScripted}))
	if c := probe.Probe(t.Context()); c.Works || c.Reason != "scripted" {
		t.Errorf("Probe: got %+v", c)
	}
}

// lifecycle goes through every step once and returns the first failure.
func lifecycle(t *testing.T, d sandbox.Driver) error {
	inst, err := start(t, d, fmt.Sprintf("n-%d", time.Now().UnixNano()))
	if err != nil {
		return err
	}
	err = inst.Ready(t.Context())
	if err == nil {
		_, err = get(t.Context(), inst)
	}
	err = errors.Join(err, inst.Stop(t.Context()))
	if _, gone := d.Recover(t.Context(), sandbox.Record{ID: inst.ID()}); !errors.Is(gone, sandbox.ErrGone) {
		err = errors.Join(err, gone)
	}
	return err
}

// TestAStopThatFailsLeavesAll wants a second one to succeed.
func TestAStopThatFailsLeavesAll(t *testing.T) {
	d := sandboxtest.NewFake(sandboxtest.FakeOptions{
		Script: sandboxtest.At(sandboxtest.StepStop, 0, sandboxtest.Fault{Err: errScripted}),
	})
	inst := mustStart(t, d, "n-1")
	if err := inst.Stop(t.Context()); !errors.Is(err, errScripted) {
		t.Errorf("Stop: got %v", err)
	}
	if want := []string{"n-1/output", "n-1/process", "n-1/socket"}; !slices.Equal(d.World().Held(), want) {
		t.Errorf("after the failed stop: holds %q, want %q", d.World().Held(), want)
	}
	if err := inst.Stop(t.Context()); err != nil || len(d.World().Held()) > 0 {
		t.Errorf("second Stop: %v, holds %q", err, d.World().Held())
	}
}

// TestExitAtTheNthRequest breaks the third request and ends the instance.
func TestExitAtTheNthRequest(t *testing.T) {
	d := sandboxtest.NewFake(sandboxtest.FakeOptions{
		Script: sandboxtest.At(sandboxtest.StepRequest, 2, sandboxtest.Fault{Exit: &sandbox.Exit{OutOfMemory: true}}),
		Handler: func(s sandbox.Spec) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s.ID) })
		},
	})
	inst := mustStart(t, d, "n-7")
	if err := inst.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		if got, err := get(t.Context(), inst); got != "n-7" || err != nil {
			t.Errorf("request %d: got %q, %v", n, got, err)
		}
	}
	if got, err := get(t.Context(), inst); err == nil {
		t.Errorf("the third request was answered: %q", got)
	}
	if exit := inst.Wait(); !exit.OutOfMemory {
		t.Errorf("Wait: got %+v", exit)
	}
	if err := inst.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "out of memory") {
		t.Errorf("Ready after the end: %v", err)
	}
	if err := inst.Stop(t.Context()); err != nil || len(d.World().Held()) > 0 {
		t.Errorf("Stop: %v, holds %q", err, d.World().Held())
	}
}

// TestDelaysTakeTheirTime runs on a false clock, as tests of times do.
func TestDelaysTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := sandboxtest.NewFake(sandboxtest.FakeOptions{
			Transport: sandboxtest.Pipe,
			Script: sandboxtest.Join(
				sandboxtest.Always(sandboxtest.StepStart, sandboxtest.Fault{Delay: 3 * time.Second}),
				sandboxtest.Always(sandboxtest.StepReady, sandboxtest.Fault{Delay: 4 * time.Second}),
				sandboxtest.At(sandboxtest.StepRequest, 1, sandboxtest.Fault{Hang: true}),
			),
		})
		begin := time.Now()
		inst := mustStart(t, d, "n-1")
		if err := inst.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 7*time.Second {
			t.Errorf("start and ready took %v, want 7s", took)
		}
		if got, err := get(t.Context(), inst); got != "hello" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := get(ctx, inst); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 67*time.Second {
			t.Errorf("the hanging request: %v after %v", err, time.Since(begin))
		}
		if err := inst.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestCrashFromOutside(t *testing.T) {
	d := sandboxtest.NewFake(sandboxtest.FakeOptions{})
	inst := mustStart(t, d, "n-1")
	if !d.World().Crash("n-1") || d.World().Crash("n-2") {
		t.Error("Crash does not know which instances there are")
	}
	<-inst.Done()
	if got := d.World().Instances(); !slices.Equal(got, []string{"n-1"}) || d.World().Peak() != 1 {
		t.Errorf("a crashed instance is there until it is stopped: got %q, peak %d", got, d.World().Peak())
	}
	if err := inst.Stop(t.Context()); err != nil || len(d.World().Instances()) > 0 {
		t.Errorf("Stop: %v, still there: %q", err, d.World().Instances())
	}
}
