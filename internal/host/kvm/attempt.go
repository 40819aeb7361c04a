package kvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// An attempt is one run of a guest, on a thread of its own. A child process
// would not be safer: the kernel that lets a signal end a process lets it end
// KVM_RUN, too, and a child costs an exec of a large program.
type attempt struct {
	kvm  *os.File
	done chan error // takes one value

	mu      sync.Mutex
	thread  int     // on which the guest runs, 0 before and after
	stopped bool    // the guest must not be entered any more
	shared  runPage // KVM's with the guest's processor, nil before there is one
}

// await returns what the attempt has found, or interrupts it.
func (a *attempt) await(ctx context.Context) error {
	late := time.NewTimer(runTime)
	defer late.Stop()
	var cause error
	select {
	case err := <-a.done:
		return err
	case <-ctx.Done():
		cause = ctx.Err()
	case <-late.C:
		cause = unrunnable("the guest has not ended after %v", runTime)
	}
	a.interrupt()
	late.Reset(returnTime)
	select {
	case err := <-a.done:
		if !errors.Is(err, errStopped) {
			return err // it has ended at the last moment
		}
		return cause
	case <-late.C:
		// Its thread can't be ended by anybody. The machine goes when it returns.
		return unrunnable("the guest has not ended and can't be interrupted")
	}
}

// interrupt makes the guest's thread leave KVM.
func (a *attempt) interrupt() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped = true
	a.shared.exitAtOnce() // should the signal come just before it enters
	if a.thread != 0 {
		// Go's runtime sends this signal itself, to whom it interrupts, and
		// expects it at any time.
		_ = unix.Tgkill(os.Getpid(), a.thread, unix.SIGURG)
	}
}

// errStopped is what an attempt ends with that was interrupted.
var errStopped = errors.New("interrupted")

// make makes a machine, runs code in it and removes it.
func (a *attempt) make(code []byte) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	a.enter(unix.Gettid())
	err := a.try(code)
	a.enter(0)
	a.kvm.Close()
	a.done <- err
}

func (a *attempt) enter(thread int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.thread = thread
}

func (a *attempt) try(code []byte) error {
	m, err := newMachine(int(a.kvm.Fd()), code)
	if err != nil {
		if errors.Is(err, unix.EINTR) && a.isStopped() {
			return errStopped
		}
		return unmade(err)
	}
	defer m.close()
	a.share(m.shared)
	defer a.share(nil)
	for _, step := range steps {
		if err := a.run(m); err != nil {
			return err
		}
		if err := step(m); err != nil {
			return err
		}
	}
	return nil
}

func (a *attempt) share(p runPage) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.shared = p
}

func (a *attempt) isStopped() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stopped
}

// run lets the guest go on until it wants something.
func (a *attempt) run(m *machine) error {
	for !a.isStopped() {
		switch err := m.run(); {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN):
			u := unrunnable("%v", err)
			u.Err = err
			return u
		}
	}
	return errStopped
}

func unmade(err error) *Unusable {
	u := &Unusable{Stage: NoMachine, Reason: fmt.Sprintf("KVM opens but makes no machines: %v", err), Err: err}
	if errors.Is(err, unix.EBUSY) {
		u.Remedy = "end the other hypervisor that uses the processor"
	}
	return u
}

func unrunnable(format string, args ...any) *Unusable {
	return &Unusable{
		Stage:  NoGuest,
		Reason: "KVM makes machines but can't run them: " + fmt.Sprintf(format, args...),
		Remedy: "in a virtual machine, its host must allow nested virtualization",
	}
}
