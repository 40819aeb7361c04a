package sandboxtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/host/leak"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest"
	"go.uber.org/goleak"
)

var cycleCases = []testCase{{name: "Cycles", run: cycles}}

const cycleCount = 20

// cycles starts and stops instances, a third of them ended from outside at a
// random moment, and wants nothing to grow: neither what is on the host nor
// this process's descriptors and goroutines.
func cycles(f *fixture) {
	moments := rand.New(rand.NewPCG(20, 24))
	f.cycle("warm-up", func(f *fixture) { f.start().wantHello() })
	ignore := goleak.IgnoreCurrent()
	options := append(f.leakOptions(), leak.Self())
	before, err := leak.Snapshot(options...)
	if err != nil {
		f.Fatal(err)
	}
	standing := f.processes()
	for n := range cycleCount {
		wait := time.Duration(moments.Int64N(int64(150 * time.Millisecond)))
		ending := endings[n%len(endings)]
		f.cycle(fmt.Sprintf("%d-%s", n, ending.name), func(f *fixture) {
			ending.run(f, cycleOf{wait: wait, moments: moments, standing: standing})
		})
	}
	left, err := leak.Settle(f.ctx(), before, options...)
	if err != nil || len(left) > 0 {
		f.Errorf("after %d cycles there is more than before: %q, %v", cycleCount, left, err)
	}
	if err := goleak.Find(ignore); err != nil {
		f.Errorf("after %d cycles: %v", cycleCount, err)
	}
}

// cycle runs one part of the test with an end of its own.
func (f *fixture) cycle(name string, run func(*fixture)) {
	f.Helper()
	f.Run(name, func(t *testing.T) {
		f.mu.Lock()
		f.started++
		part := &fixture{T: t, suite: f.suite, host: f.host, driver: f.driver, base: f.base, started: f.started}
		f.mu.Unlock()
		run(part)
	})
}

// A cycleOf is what one cycle is given.
type cycleOf struct {
	wait     time.Duration // before something happens from outside
	moments  *rand.Rand
	standing []int // the driver's own processes, which outlive instances
}

var endings = []struct {
	name string
	run  func(f *fixture, c cycleOf)
}{
	{"stopped", func(f *fixture, _ cycleOf) { f.start().wantHello() }},
	{"stopped-while-starting", stoppedWhileStarting},
	{"killed-inside", killedInside},
	{"stopped", func(f *fixture, _ cycleOf) { f.start().wantHello() }},
	{"exited", exited},
	{"killed-outside", killedOutside},
}

func stoppedWhileStarting(f *fixture, c cycleOf) {
	r := f.launch(f.revision())
	time.Sleep(c.wait)
	f.stop(r)
}

func killedInside(f *fixture, _ cycleOf) {
	r := f.start()
	r.crash()
	r.wantExit()
}

func exited(f *fixture, _ cycleOf) {
	f.launch(f.revision(env(guest.ModeEnv, guest.ModeExit), env(guest.CodeEnv, "1"))).wantExit()
}

// killedOutside kills one of the instance's processes, whichever, at a moment
// of its start or of its life. The instance may survive that or not: what
// counts is that Stop ends it and leaves nothing.
func killedOutside(f *fixture, c cycleOf) {
	r := f.launch(f.revision())
	time.Sleep(c.wait)
	pids := slices.DeleteFunc(f.processes(), func(pid int) bool { return slices.Contains(c.standing, pid) })
	if len(pids) == 0 {
		crashIfReady(r)
		return
	}
	if err := syscall.Kill(pids[c.moments.IntN(len(pids))], syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		f.Fatal(err)
	}
	_ = r.Ready(f.ctx()) // ready, or broken: it must know one of both
	f.stop(r)
	r.wantExit()
}

// processes lists the processes of the driver and of its instances.
func (f *fixture) processes() []int {
	f.Helper()
	pids, err := leak.Processes(f.leakOptions()...)
	if err != nil {
		f.Fatal(err)
	}
	return pids
}

// crashIfReady is for sandboxes without processes of their own.
func crashIfReady(r *running) {
	r.f.Helper()
	if err := r.Ready(r.f.ctx()); err != nil {
		return
	}
	r.crash()
	r.wantExit()
}
