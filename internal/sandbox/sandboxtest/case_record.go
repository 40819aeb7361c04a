package sandboxtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/unifaas/unifaas/internal/host/leak"
)

var recordCases = []testCase{
	{name: "RecordFails", run: recordFails},
	{name: "RecordCancelsStart", run: recordCancelsStart},
	{name: "StateIsSmall", run: stateIsSmall},
}

// maxRecords bounds how many calls of Record a start may make.
const maxRecords = 64

// eachRecord calls try with 0, 1, 2... until it says that the start made no
// such call of Record.
func (f *fixture) eachRecord(try func(k int) (reached bool)) {
	f.Helper()
	for k := range maxRecords {
		if !try(k) {
			if k == 0 {
				f.Error("Start records nothing before it acquires")
			}
			return
		}
	}
	f.Fatalf("Start calls Record more than %d times", maxRecords)
}

// recordFails makes each call of Record fail in turn: then the start fails
// and has left nothing, nor has recovery anything to find.
func recordFails(f *fixture) {
	errDisk := errors.New("the disk is full")
	rev := f.revision()
	artifact := f.prepare(rev)
	before := f.snapshot()
	f.eachRecord(func(k int) bool {
		spec, record := f.newSpec(rev)
		f.collect(&spec)
		record.hook = func(call int) error {
			if call == k {
				return errDisk
			}
			return nil
		}
		inst, err := f.driver.Start(f.ctx(), artifact, spec)
		if err == nil {
			f.stop(inst)
			if record.calls > k {
				f.Errorf("Start did not mind that Record call %d failed", k)
			}
			return record.calls > k
		}
		if !errors.Is(err, errDisk) {
			f.Fatalf("Start with a failure of Record call %d: got %v, want that error in its chain", k, err)
		}
		f.wantNothingNew(before, spec.ID, fmt.Sprintf("after a failure of Record call %d", k))
		f.wantGone(f.freshDriver(), record.read(f))
		return true
	})
}

// recordCancelsStart ends the start's context at each call of Record in turn.
// The start then either fails and leaves nothing, or was quick enough.
func recordCancelsStart(f *fixture) {
	rev := f.revision()
	artifact := f.prepare(rev)
	before := f.snapshot()
	f.eachRecord(func(k int) bool {
		spec, record := f.newSpec(rev)
		f.collect(&spec)
		ctx, cancel := context.WithCancel(f.Context())
		defer cancel()
		record.hook = func(call int) error {
			if call == k {
				cancel()
			}
			return nil
		}
		inst, err := f.driver.Start(ctx, artifact, spec)
		if err == nil {
			f.stop(inst)
		}
		f.wantNothingNew(before, spec.ID, fmt.Sprintf("after the context's end at Record call %d", k))
		return record.calls > k
	})
}

// wantNothingNew checks that instance id, when it is what is left, is not.
func (f *fixture) wantNothingNew(before leak.State, id, when string) {
	f.Helper()
	left := f.settle(before)
	for _, thing := range left {
		f.Errorf("instance %s, %s: left behind: %s", id, when, thing)
	}
}

// stateIsSmall wants a state that a platform can write on every start.
func stateIsSmall(f *fixture) {
	r := f.start()
	if n := len(r.record.read(f).State); n == 0 || n > 64<<10 {
		f.Errorf("the recorded state has %d bytes", n)
	}
}
