package gvisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/boot"

	"github.com/unifaas/unifaas/internal/sandbox"
)

// watch follows the sandbox to its end in the background. It holds two
// goroutines and no thread: the pidfd is polled like a socket.
func (i *instance) watch() {
	i.watched = true
	status := make(chan unix.WaitStatus, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(status)
		var ws uint32
		if i.control.call(ctx, boot.ContMgrWait, i.id, &ws) == nil {
			status <- unix.WaitStatus(ws)
		}
	}()
	go func() {
		process, known := i.awaitProcess()
		cancel()
		function, told := <-status
		i.exit = i.describe(process, known, function, told)
		close(i.done)
	}()
}

// awaitProcess blocks until the sandbox process has ended. known says whether
// its status is known: the kernel tells only a parent.
func (i *instance) awaitProcess() (status unix.WaitStatus, known bool) {
	raw, err := i.pidfd.SyscallConn()
	if err != nil {
		return 0, false
	}
	_ = raw.Read(func(fd uintptr) bool {
		var ended bool
		if i.ours {
			status, ended = reap(i.pid)
			known = ended
			return ended
		}
		if !hasExited(int(fd)) {
			return false
		}
		// A child all the same where one process ran two platforms in turn.
		var err error
		if _, err = unix.Wait4(i.pid, &status, unix.WNOHANG, nil); err == nil {
			known = true
		}
		return true
	})
	return status, known
}

// reap collects a child's status if it has ended. A child that is not there
// any more has ended, too.
func reap(pid int) (status unix.WaitStatus, ended bool) {
	for {
		got, err := unix.Wait4(pid, &status, unix.WNOHANG, nil)
		if !errors.Is(err, unix.EINTR) {
			return status, err != nil || got == pid
		}
	}
}

// hasExited tells whether a pidfd's process has ended.
func hasExited(pidfd int) bool {
	poll := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n == 1
}

// describe puts together what the sandbox said of the function, what the
// kernel says of the sandbox, and what the cgroup says of its memory.
func (i *instance) describe(process unix.WaitStatus, known bool, function unix.WaitStatus, told bool) sandbox.Exit {
	exit := sandbox.Exit{Code: -1, At: time.Now()}
	status, ok := function, told
	if !told && known {
		// The sandbox exits as its function did.
		status, ok = process, true
	}
	switch {
	case ok && status.Signaled() && !told:
		exit.Reason = fmt.Sprintf("its sandbox was killed by signal %d (%v)", int(status.Signal()), status.Signal())
		exit.Signal = int(status.Signal())
	case ok && status.Signaled():
		exit.Signal = int(status.Signal())
		exit.Reason = fmt.Sprintf("killed by signal %d (%v)", exit.Signal, status.Signal())
	case ok && status.Exited():
		exit.Code = status.ExitStatus()
		exit.Reason = fmt.Sprintf("exit status %d", exit.Code)
	default:
		exit.Reason = "ended while the platform was away"
	}
	if words := firstLine(i.diagnostics); words != "" && !told {
		exit.Reason = "the sandbox broke: " + words
	}
	if i.group == nil {
		return exit
	}
	if kills, err := i.group.OOMKills(); err == nil && kills > 0 {
		exit.OutOfMemory = true
		exit.Reason = fmt.Sprintf("out of memory: it used more than its limit of %d MiB; raise memory in function.toml", i.memory>>20)
	}
	return exit
}
