package main

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/guest/linux/wire"
)

// ended notes how the function has ended, and ends what it has left.
func (m *machine) ended() {
	status := <-m.status
	_ = unix.Close(m.reaped)
	m.reaped, m.function = -1, 0
	// Everything but this process. Whoever is forking gets it, too.
	_ = unix.Kill(-1, unix.SIGKILL)
	exit := &wire.Exit{Code: status.ExitStatus(), NS: now()}
	if status.Signaled() {
		exit.Signal = int(status.Signal())
	}
	if (exit.Signal == int(unix.SIGKILL) || exit.Code == 128+int(unix.SIGKILL)) && m.memoryRanOut() {
		exit.OutOfMemory = true
	}
	m.exit = exit
	if m.output < 0 {
		m.link.tell(wire.KindExit, m.exit)
	}
}

// killMark is in what the kernel says when it has killed a process for want of
// memory (mm/oom_kill.c). Its counter in /proc/vmstat is not in every kernel.
const killMark = "ut of memory: Killed process "

// memoryRanOut tells whether the kernel has killed a process for want of
// memory. Only the kernel writes to its log: the function can't.
func (m *machine) memoryRanOut() bool {
	for {
		// One record at a time. A buffer that is too small, and records that
		// are overwritten, are errors of one record.
		n, err := unix.Read(m.log, m.buffer[:])
		switch {
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EINTR):
		case err != nil || n == 0:
			return false
		case strings.Contains(string(m.buffer[:n]), killMark):
			return true
		}
	}
}
