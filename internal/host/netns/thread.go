package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// New makes a network namespace in which there is a loopback interface that is
// switched off, and nothing else. It has no name: it is gone when the handle is
// closed and no process, socket or interface's owner is in it any more.
func New() (*Handle, error) { return NewWith(func() error { return nil }) }

// NewWith is New, and calls f on a thread that is in the new namespace, as
// [Handle.Do] does. If f fails, so does NewWith, and the namespace is gone.
func NewWith(f func() error) (*Handle, error) {
	var h *Handle
	err := away(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		file, err := os.Open(own)
		if err != nil {
			return err
		}
		h = &Handle{file}
		return f()
	})
	if err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// own is the namespace of the thread that opens it.
const own = "/proc/thread-self/ns/net"

// Do calls f on a thread that is in the namespace, and returns f's error. What f
// opens and starts there belongs to the namespace. f must change nothing else
// of its thread; goroutines that it starts run elsewhere.
func (h *Handle) Do(f func() error) error {
	return away(func() error {
		if err := h.enter(); err != nil {
			return err
		}
		return f()
	})
}

// Here calls f inside the namespace on the calling thread, where that matters
// for another reason, too: a process that f starts is born where its thread is.
// The goroutine must be locked to it, and it must not be the process's first.
// It is brought home, or else never given to another goroutine.
func (h *Handle) Here(f func() error) error {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer func() { _ = home.Close() }()
	if err := h.enter(); err != nil {
		return err
	}
	defer func() {
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) != nil {
			runtime.LockOSThread() // once more than the caller unlocks it
		}
	}()
	return f()
}

// enter moves the calling thread into the namespace. A handle that is closed
// meanwhile is closed after, or it is an error: never is another file's
// descriptor taken for it.
func (h *Handle) enter() error {
	raw, err := h.file.SyscallConn()
	if err != nil {
		return err
	}
	var entered error
	err = raw.Control(func(fd uintptr) { entered = unix.Setns(int(fd), unix.CLONE_NEWNET) })
	return errors.Join(err, entered)
}

// errDied is the error of a function that has ended its goroutine.
var errDied = errors.New("the function inside a network namespace did not return")

// away calls f on a thread of its own, which may go to another network
// namespace and is brought home. It is not thrown away, unless it can't go
// home: a machine that has no more threads to give must not be asked for one.
func away(f func() error) error {
	done := make(chan error, 1)
	go func() {
		result := errDied
		defer func() { done <- result }()
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The first thread is the one whose namespace is taken for that of
			// the process, and it never ends. While it is held here, the next
			// goroutine gets another.
			defer runtime.UnlockOSThread()
			result = away(f)
			return
		}
		home, err := os.Open(own)
		if err != nil {
			runtime.UnlockOSThread()
			result = err
			return
		}
		defer func() {
			// A thread that stays locked ends with its goroutine.
			if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
			_ = home.Close()
		}()
		result = f()
	}()
	return <-done
}
