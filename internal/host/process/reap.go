package process

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Adopt makes this process the parent of all its descendants whose own parent
// ends (PR_SET_CHILD_SUBREAPER of prctl(2)). It holds for the whole process and
// for good, and calling it again changes nothing.
//
// What is adopted has to be waited for ([Handle.Wait], [Reap]), or it stays as
// a zombie until this process ends. So whoever executes a program that leaves
// descendants behind must know them by number, group, or cgroup.
func Adopt() error {
	err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	return os.NewSyscallError("prctl", err)
}

// Reap collects the status of child pid if it has ended. False is the answer
// for one that runs and for one that is not this process's child. It is not
// for children of os/exec, which collects them itself.
func Reap(pid int) (unix.WaitStatus, bool) {
	var status unix.WaitStatus
	for {
		got, err := unix.Wait4(pid, &status, unix.WNOHANG, nil)
		if !errors.Is(err, unix.EINTR) {
			return status, err == nil && got == pid
		}
	}
}

// ReapGroup collects every child in a process group until none is left or
// limit has passed. The group must have been made for a child whose own status
// has been collected already; who is in it came by [Adopt].
func ReapGroup(group int, limit time.Duration) {
	deadline := time.Now().Add(limit)
	for time.Now().Before(deadline) {
		got, err := unix.Wait4(-group, nil, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR), got > 0:
		case err != nil: // there is no such child
			return
		default:
			time.Sleep(reapPause)
		}
	}
}

const reapPause = time.Millisecond
