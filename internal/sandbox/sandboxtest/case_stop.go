package sandboxtest

import (
	"context"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest"
)

var stopCases = []testCase{
	{name: "StopIsIdempotent", run: stopIsIdempotent},
	{name: "StopUnblocksWaiters", run: stopUnblocksWaiters},
	{name: "StopBeforeReady", run: stopBeforeReady},
	{name: "StopAfterExit", run: stopAfterExit},
	{name: "StopWithRequestsInFlight", run: stopWithRequestsInFlight},
	{name: "StopObeysItsContext", run: stopObeysItsContext},
	{name: "ExitCode", needs: []Promise{ExitStatus}, run: exitCode},
	{name: "ExitSignal", needs: []Promise{ExitStatus}, run: exitSignal},
}

func stopIsIdempotent(f *fixture) {
	r := f.start()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { f.stop(r) })
	}
	wg.Wait()
	f.stop(r)
	r.wantExit()
	if conn, err := r.Dial(f.ctx()); err == nil {
		_ = conn.Close()
		f.Error("Dial: a stopped instance can be dialled")
	}
	if err := r.Ready(f.ctx()); err == nil {
		f.Error("Ready: a stopped instance is ready")
	}
}

func stopUnblocksWaiters(f *fixture) {
	r := f.launch(f.revision(env(guest.ModeEnv, guest.ModeNever)))
	ended := make(chan string, 3)
	go func() { <-r.Done(); ended <- "Done" }()
	go func() { r.Wait(); ended <- "Wait" }()
	go func() { _ = r.Ready(f.ctx()); ended <- "Ready" }()
	f.stop(r)
	limit := time.After(f.suite.harness.Timeout / 2)
	for n := range 3 {
		select {
		case <-ended:
		case <-limit:
			f.Fatalf("only %d of Done, Wait and Ready returned after Stop", n)
		}
	}
}

func stopBeforeReady(f *fixture) {
	f.stop(f.launch(f.revision()))
}

func stopAfterExit(f *fixture) {
	r := f.launch(f.revision(env(guest.ModeEnv, guest.ModeExit), env(guest.CodeEnv, "3")))
	before := r.wantExit()
	f.stop(r)
	if after := r.Wait(); after != before {
		f.Errorf("Wait: got %+v before Stop and %+v after it", before, after)
	}
}

func stopWithRequestsInFlight(f *fixture) {
	r := f.start()
	errs := make(chan error, 4)
	for range cap(errs) {
		go func() {
			_, err := r.request(f.ctx(), http.MethodGet, query("/sleep", "ms", time.Hour.Milliseconds()), nil)
			errs <- err
		}()
	}
	r.wantHello()
	f.stop(r)
	for range cap(errs) {
		select {
		case err := <-errs:
			if err == nil {
				f.Error("a request that needs an hour was answered")
			}
		case <-time.After(f.suite.harness.Timeout / 2):
			f.Fatal("a request hangs after its instance was stopped")
		}
	}
}

func stopObeysItsContext(f *fixture) {
	r := f.start()
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	begin := time.Now()
	_ = r.Stop(ctx) // an error, or nil when it was quick enough; the second must work
	if took := time.Since(begin); took > f.suite.harness.Timeout/2 {
		f.Errorf("Stop took %v after its context's end", took)
	}
	f.stop(r)
}

func exitCode(f *fixture) {
	r := f.start()
	if _, err := r.request(f.ctx(), http.MethodGet, query("/exit", "code", 42), nil); err == nil {
		f.Error("an instance that exited has answered")
	}
	exit := r.wantExit()
	if exit.Code != 42 || exit.Signal != 0 || exit.OutOfMemory {
		f.Errorf("Wait: got %+v, want code 42", exit)
	}
	if since := time.Since(exit.At); exit.At.IsZero() || since < 0 || since > f.suite.harness.Timeout {
		f.Errorf("Wait: the instance ended at %v, %v ago", exit.At, since)
	}
}

func exitSignal(f *fixture) {
	r := f.start()
	r.crash()
	if exit := r.wantExit(); exit.Signal != int(syscall.SIGSEGV) || exit.OutOfMemory {
		f.Errorf("Wait: got %+v, want signal %d", exit, syscall.SIGSEGV)
	}
}
