package main

import (
	"strconv"
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
	if (exit.Signal == int(unix.SIGKILL) || exit.Code == 128+int(unix.SIGKILL)) && m.oomKills() > 0 {
		exit.OutOfMemory = true
	}
	m.exit = exit
	if m.output < 0 {
		m.link.tell(m, wire.KindExit, m.exit)
	}
}

// oomKills returns how many processes the kernel has killed for want of memory.
func (m *machine) oomKills() int {
	n, err := unix.Pread(m.vmstat, m.buffer[:], 0)
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(m.buffer[:n]), "\noom_kill ")
	count, _, _ := strings.Cut(rest, "\n")
	kills, _ := strconv.Atoi(count)
	return kills
}
