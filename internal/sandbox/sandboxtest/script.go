package sandboxtest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// A Step is a place where a [Script] can interfere.
type Step string

// The steps. [Faulty] has all but those of the fake alone.
const (
	StepProbe   Step = "probe"
	StepPrepare Step = "prepare"
	StepStart   Step = "start"
	StepRecord  Step = "record" // each call of Spec.Record
	StepReady   Step = "ready"
	StepDial    Step = "dial"
	StepStop    Step = "stop"
	StepRecover Step = "recover"
	// StepAcquire is each thing that a fake's start takes hold of, after its
	// record. Only the fake has it.
	StepAcquire Step = "acquire"
	// StepRequest is each HTTP request that a fake's instance gets, before it
	// is answered. Only the fake has it.
	StepRequest Step = "request"
)

// A Call is one arrival at a step.
type Call struct {
	Step     Step
	Index    int      // how many calls of this step came before, counted per driver
	Instance string   // its ID; "" for probe and prepare
	Function faas.Ref // "" for probe
}

func (c Call) String() string { return fmt.Sprintf("%s %d", c.Step, c.Index) }

// A Fault is what happens at a call. The zero value is nothing at all. The
// parts happen in the order of the fields.
type Fault struct {
	Delay time.Duration // wait, or until the call's context ends, which is then its error
	Hang  bool          // wait until the call's context ends, which is then its error
	Err   error         // fail with this
	// Exit ends the fake's instance in this way. Only at StepReady, StepDial
	// and StepRequest.
	Exit *sandbox.Exit
}

// A Script decides what happens at each call. It may be called concurrently.
// A nil Script never interferes.
type Script func(Call) Fault

// At returns a script that does fault at the index-th call of step, counted
// from 0.
func At(step Step, index int, fault Fault) Script {
	return func(c Call) Fault {
		if c.Step == step && c.Index == index {
			return fault
		}
		return Fault{}
	}
}

// Always returns a script that does fault at every call of step.
func Always(step Step, fault Fault) Script {
	return func(c Call) Fault {
		if c.Step == step {
			return fault
		}
		return Fault{}
	}
}

// Join returns a script that does what the first of scripts with something to
// do says.
func Join(scripts ...Script) Script {
	return func(c Call) Fault {
		for _, s := range scripts {
			if f := s(c); f != (Fault{}) {
				return f
			}
		}
		return Fault{}
	}
}

// A stage counts calls and plays a script at them.
type stage struct {
	script Script
	mu     sync.Mutex
	counts map[Step]int
}

func newStage(script Script) *stage { return &stage{script: script, counts: map[Step]int{}} }

// enter counts a call and returns its fault.
func (s *stage) enter(step Step, instance string, function faas.Ref) Fault {
	s.mu.Lock()
	call := Call{Step: step, Index: s.counts[step], Instance: instance, Function: function}
	s.counts[step]++
	s.mu.Unlock()
	if s.script == nil {
		return Fault{}
	}
	return s.script(call)
}

// Calls returns how often step was reached.
func (s *stage) Calls(step Step) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[step]
}

// suffer goes through f's delay, hang and error.
func (f Fault) suffer(ctx context.Context) error {
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if f.Hang {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return f.Err
}
