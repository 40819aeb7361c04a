package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// ReapOrphans collects adopted children that have ended and that nobody knows:
// those in a session that is neither this process's nor their own. What this
// program starts, it starts in its session or makes the leader of another, and
// so it must. Programs that detach themselves (crun) leave such children.
func ReapOrphans() error {
	own, err := unix.Getsid(0)
	if err != nil {
		return os.NewSyscallError("getsid", err)
	}
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return err
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for _, word := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(word)
			if err != nil {
				return fmt.Errorf("read %s: %w", list, errFormat)
			}
			if s, err := Look(pid); err == nil && s.State == 'Z' && s.Session != own && s.Session != pid {
				Reap(pid)
			}
		}
	}
	return nil
}
