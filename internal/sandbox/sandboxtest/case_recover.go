package sandboxtest

import (
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest"
)

var recoverCases = []testCase{
	{name: "RecoverTakesOver", run: recoverTakesOver},
	{name: "RecoverTwice", run: recoverTwice},
	{name: "RecoverOfOneThatExited", run: recoverOfOneThatExited},
	{name: "RecoverOfOneThatWasStopped", run: recoverOfOneThatWasStopped},
	{name: "RecoverOfAnEmptyRecord", run: recoverOfAnEmptyRecord},
	{name: "RecoverOfAnotherBoot", run: recoverOfAnotherBoot},
	{name: "RecoverSparesAnotherBoot", needs: []Promise{EndsWithBoot}, run: recoverSparesAnotherBoot},
	{name: "RecoverAfterCrash", needs: []Promise{OutlivesPlatform}, run: recoverAfterCrash},
}

// recover takes r over by a driver made afresh.
func (r *running) recover() *running {
	r.f.Helper()
	if die := r.f.suite.harness.Die; die != nil {
		die(r.Instance)
		r.dead = true
	}
	inst, err := r.f.freshDriver().Recover(r.f.ctx(), r.record.read(r.f))
	if err != nil {
		r.f.Fatalf("Recover: %v\noutput: %s", err, r.out.text())
	}
	r.f.Cleanup(func() { r.f.stop(inst) })
	return r.f.running(inst, r.spec, r.record, r.out)
}

func recoverTakesOver(f *fixture) {
	r := f.start()
	taken := r.recover()
	if taken.ID() != r.ID() {
		f.Errorf("ID: got %q, want %q", taken.ID(), r.ID())
	}
	if err := taken.Ready(f.ctx()); err != nil {
		f.Fatalf("Ready: %v", err)
	}
	taken.wantHello()
	taken.get(query("/say", "text", "after the recovery"))
	taken.out.want(f, "after the recovery")
	if s, ok := taken.Instance.(sandbox.Statser); ok {
		if got, err := s.Stats(f.ctx()); err != nil || got.Pids < 1 {
			f.Errorf("Stats: got %+v, %v", got, err)
		}
	}
	f.stop(taken)
	taken.wantExit()
	if !r.dead {
		r.wantExit()
	}
	f.wantGone(f.driver, r.record.read(f))
}

// recoverTwice is a crash right after a recovery, and a crash of the function
// after that.
func recoverTwice(f *fixture) {
	r := f.start()
	first := r.recover()
	first.wantHello()
	last := first.recover()
	last.wantHello()
	if _, err := last.request(f.ctx(), "GET", query("/exit", "code", 5), nil); err == nil {
		f.Error("an instance that exited has answered")
	}
	// Whoever adopted the process has its exit status, so that it may be unknown.
	if exit := last.wantExit(); exit.Code != 5 && exit.Code != -1 {
		f.Errorf("Wait: got %+v, want code 5, or -1 for unknown", exit)
	}
}

func recoverOfOneThatExited(f *fixture) {
	r := f.launch(f.revision(env(guest.ModeEnv, guest.ModeExit), env(guest.CodeEnv, "1")))
	r.wantExit()
	d := f.freshDriver()
	for range 2 {
		f.wantGone(d, r.record.read(f))
	}
}

func recoverOfOneThatWasStopped(f *fixture) {
	r := f.start()
	f.stop(r)
	d := f.freshDriver()
	for range 2 {
		f.wantGone(d, r.record.read(f))
	}
}

// recoverOfAnEmptyRecord is a crash before the driver's first record.
func recoverOfAnEmptyRecord(f *fixture) {
	_, record := f.newSpec(f.revision())
	f.wantGone(f.driver, record.read(f))
}

// anotherBoot is the id of a boot that never was.
const anotherBoot = "00000000-0000-0000-0000-000000000000"

// recoverOfAnotherBoot has a record from before the machine's last boot, when
// nothing of what it names is there any more.
func recoverOfAnotherBoot(f *fixture) {
	r := f.start()
	rec := r.record.read(f)
	f.stop(r)
	rec.BootID = anotherBoot
	f.wantGone(f.freshDriver(), rec)
}

// recoverSparesAnotherBoot has one whose process ids and groups mean others
// now, which must come to no harm.
func recoverSparesAnotherBoot(f *fixture) {
	r := f.start()
	rec := r.record.read(f)
	rec.BootID, rec.Dir = anotherBoot, f.TempDir()
	d := f.freshDriver()
	for range 2 {
		f.wantGone(d, rec)
	}
	r.wantHello()
	wantAlive(r)
}
