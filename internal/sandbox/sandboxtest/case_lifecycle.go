package sandboxtest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest"
)

var lifecycleCases = []testCase{
	{name: "ProbeLeavesNothing", run: probeLeavesNothing},
	{name: "ProbeObeysItsContext", run: probeObeysItsContext},
	{name: "PrepareIsIdempotent", run: prepareIsIdempotent},
	{name: "PrepareOutlivesTheDriver", run: prepareOutlivesTheDriver},
	{name: "Serves", run: serves},
	{name: "SeveralInstances", run: severalInstances},
	{name: "ExitsAtOnce", run: exitsAtOnce},
	{name: "NeverListens", run: neverListens},
	{name: "ListensLate", run: listensLate},
	{name: "StartIsCanceledAtOnce", run: startIsCanceledAtOnce},
	{name: "OtherPort", needs: []Promise{Program}, run: otherPort},
	{name: "LowPort", needs: []Promise{Program}, run: lowPort},
}

func probeLeavesNothing(f *fixture) {
	for range 2 {
		if c := f.driver.Probe(f.ctx()); !c.Works || c.Reason != "" {
			f.Errorf("Probe: got %+v, want it to work as it did before", c)
		}
	}
}

func probeObeysItsContext(f *fixture) {
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	begin := time.Now()
	f.driver.Probe(ctx)
	if took := time.Since(begin); took > f.suite.harness.Timeout/2 {
		f.Errorf("Probe took %v after its context's end", took)
	}
}

func prepareIsIdempotent(f *fixture) {
	rev := f.revision()
	artifacts := make([]sandbox.Artifact, 4)
	var wg sync.WaitGroup
	for i := range artifacts {
		wg.Go(func() {
			var err error
			if artifacts[i], err = f.driver.Prepare(f.ctx(), rev); err != nil {
				f.Errorf("Prepare: %v", err)
			}
		})
	}
	wg.Wait()
	if f.Failed() {
		return
	}
	artifacts = append(artifacts, f.prepare(rev))
	for _, a := range artifacts {
		f.serveFrom(f.driver, a, rev)
	}
}

func prepareOutlivesTheDriver(f *fixture) {
	rev := f.revision()
	f.prepare(rev)
	f.driver = f.freshDriver()
	f.serveFrom(f.driver, f.prepare(rev), rev)
}

// serveFrom starts an instance from artifact, checks it and stops it.
func (f *fixture) serveFrom(d sandbox.Driver, artifact sandbox.Artifact, rev *faas.Revision) {
	f.Helper()
	spec, record := f.newSpec(rev)
	out := f.collect(&spec)
	inst, err := d.Start(f.ctx(), artifact, spec)
	if err != nil {
		f.Fatalf("Start: %v\noutput: %s", err, out.text())
	}
	defer f.stop(inst)
	if err := inst.Ready(f.ctx()); err != nil {
		f.Fatalf("Ready: %v\noutput: %s", err, out.text())
	}
	f.running(inst, spec, record, out).wantHello()
}

func serves(f *fixture) {
	artifact := f.prepare(f.revision())
	spec, record := f.newSpec(f.revision())
	out := f.collect(&spec)
	var mu sync.Mutex
	var phases []string
	last := time.Now()
	spec.Trace = func(phase string, at time.Time) {
		mu.Lock()
		defer mu.Unlock()
		if phase == "" || at.Before(last) {
			f.Errorf("phase %q at %v, before the one before it, %v", phase, at, last)
		}
		phases, last = append(phases, phase), at
	}
	inst, err := f.driver.Start(f.ctx(), artifact, spec)
	if err != nil {
		f.Fatalf("Start: %v\noutput: %s", err, out.text())
	}
	defer f.stop(inst)
	r := f.running(inst, spec, record, out)
	for range 2 { // Ready may be asked again
		if err := r.Ready(f.ctx()); err != nil {
			f.Fatalf("Ready: %v\noutput: %s", err, out.text())
		}
	}
	if r.ID() != spec.ID {
		f.Errorf("ID: got %q, want %q", r.ID(), spec.ID)
	}
	r.wantHello()
	select {
	case <-r.Done():
		f.Error("Done is closed while the instance serves")
	default:
	}
	mu.Lock()
	defer mu.Unlock()
	if len(phases) == 0 {
		f.Error("Start told Trace no phase")
	}
}

func severalInstances(f *fixture) {
	rev := f.revision()
	all := []*running{f.launch(rev), f.launch(rev), f.launch(rev)}
	for _, r := range all {
		if err := r.Ready(f.ctx()); err != nil {
			f.Fatalf("Ready: %v\noutput: %s", err, r.out.text())
		}
	}
	for i, r := range all {
		r.get(query("/say", "text", "I am "+all[i].ID()))
		r.out.want(f, "I am "+r.ID())
	}
	f.stop(all[0])
	for _, r := range all[1:] {
		r.wantHello()
		if strings.Contains(r.out.text(), all[0].ID()) {
			f.Errorf("the output of %s holds another instance's: %q", r.ID(), r.out.text())
		}
	}
}

func exitsAtOnce(f *fixture) {
	begin := time.Now()
	r := f.launch(f.revision(env(guest.ModeEnv, guest.ModeExit), env(guest.CodeEnv, "7")))
	if err := r.Ready(f.ctx()); err == nil {
		f.Fatal("Ready: a program that exits at once is ready")
	}
	if took := time.Since(begin); took > f.suite.harness.Timeout/2 {
		f.Errorf("Ready told only after %v; it must not wait for its context's end", took)
	}
	if exit := r.wantExit(); f.gives(ExitStatus) && (exit.Code != 7 || exit.Signal != 0 || exit.OutOfMemory) {
		f.Errorf("Wait: got %+v, want code 7", exit)
	}
	r.out.want(f, "exits at once, as asked")
	if _, err := r.Dial(f.ctx()); err == nil {
		f.Error("Dial: an instance that has ended can be dialled")
	}
}

func neverListens(f *fixture) {
	r := f.launch(f.revision(env(guest.ModeEnv, guest.ModeNever)))
	ctx, cancel := context.WithTimeout(f.Context(), 700*time.Millisecond)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- r.Ready(ctx) }()
	select {
	case err := <-result:
		if !errors.Is(err, context.DeadlineExceeded) {
			f.Errorf("Ready: got %v, want its context's error", err)
		}
	case <-time.After(f.suite.harness.Timeout / 2):
		f.Error("Ready goes on after its context's end")
	}
	select {
	case <-r.Done():
		f.Errorf("the end of Ready's context ended the instance: %v", r.Wait())
	default:
	}
}

func listensLate(f *fixture) {
	const delay = 500 * time.Millisecond
	r := f.launch(f.revision(env(guest.ModeEnv, guest.ModeLate), env(guest.DelayEnv, delay.String())))
	if err := r.Ready(f.ctx()); err != nil {
		f.Fatalf("Ready: %v\noutput: %s", err, r.out.text())
	}
	conn, err := r.Dial(f.ctx())
	if err != nil {
		f.Fatalf("Dial right after Ready: %v", err)
	}
	_ = conn.Close()
	r.wantHello()
}

func startIsCanceledAtOnce(f *fixture) {
	rev := f.revision()
	artifact := f.prepare(rev)
	spec, _ := f.newSpec(rev)
	f.collect(&spec)
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	inst, err := f.driver.Start(ctx, artifact, spec)
	if err == nil {
		f.stop(inst)
		return
	}
	if !errors.Is(err, context.Canceled) {
		f.Errorf("Start: got %v, want the context's error in its chain", err)
	}
}

func otherPort(f *fixture) {
	r := f.start(env(guest.PortEnv, "9191"), func(rev *faas.Revision) { rev.Function.Port = 9191 })
	r.wantHello()
}

// lowPort is what the images of web servers expose. A function has no
// capability to listen on it, whoever it is.
func lowPort(f *fixture) {
	for _, user := range []string{"0:0", "1234:2345"} {
		r := f.start(env(guest.PortEnv, "80"), func(rev *faas.Revision) {
			rev.Function.Port, rev.Image.Config.User = 80, user
		})
		r.wantHello()
	}
}
