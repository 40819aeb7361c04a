package process

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrGone says that a number no longer means the process it meant.
var ErrGone = errors.New("the process is gone")

// A Handle holds one process, also after its end. Its methods may be called
// concurrently.
type Handle struct {
	Identity
	file *os.File // a pidfd: it waits on Go's poller, without a thread
}

// Hold takes hold of the process that has the number pid now.
func Hold(pid int) (*Handle, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	h := &Handle{file: os.NewFile(uintptr(fd), "pidfd")}
	// After the pidfd: from then on the number can't pass on unseen.
	status, err := Look(pid)
	if err != nil {
		h.Close()
		return nil, ErrGone
	}
	h.Identity = status.Identity
	return h, nil
}

// HoldAgain takes hold of a process that was known before, or returns
// [ErrGone].
func HoldAgain(id Identity) (*Handle, error) {
	if id.Pid == 0 { // of one that was never recorded
		return nil, ErrGone
	}
	h, err := Hold(id.Pid)
	if err != nil {
		return nil, err
	}
	if h.Identity != id {
		h.Close()
		return nil, ErrGone
	}
	return h, nil
}

// Close lets go of the process. A nil handle is closed.
func (h *Handle) Close() {
	if h != nil {
		_ = h.file.Close()
	}
}

// Signal sends sig. A process that has ended is no error.
func (h *Handle) Signal(sig unix.Signal) error {
	raw, err := h.file.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
	if errors.Is(sent, unix.ESRCH) {
		sent = nil
	}
	return errors.Join(err, sent)
}

// Wait blocks until the process has ended or the handle is closed. known says
// whether the status is the process's: only its parent is told, and only once.
func (h *Handle) Wait() (status unix.WaitStatus, known bool) {
	raw, err := h.file.SyscallConn()
	if err != nil {
		return 0, false
	}
	_ = raw.Read(func(fd uintptr) bool {
		if status, known = Reap(h.Pid); known {
			return true
		}
		return hasEnded(int(fd))
	})
	if !known {
		// It may have become ours between the two looks.
		status, known = Reap(h.Pid)
	}
	return status, known
}

// HasEnded reports whether the process has ended, reaped or not.
func (h *Handle) HasEnded() bool {
	raw, err := h.file.SyscallConn()
	if err != nil {
		return true
	}
	ended := true
	_ = raw.Control(func(fd uintptr) { ended = hasEnded(int(fd)) })
	return ended
}

func hasEnded(pidfd int) bool {
	poll := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n == 1
}
