package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// An Identity names a process for as long as the machine runs: a number may
// pass to another process, the number and the time of its start can't.
type Identity struct {
	Pid int
	// Started is when it was started, in clock ticks since the machine's boot.
	Started uint64
}

// A Status is what the kernel tells of a process at one moment.
type Status struct {
	Identity
	State  byte // as in proc_pid_stat(5): 'R', 'S', 'Z' (ended, not reaped), ...
	Parent int
	// Session is the number of its session, which is that of the process that
	// made it.
	Session int
}

// Look reads the status of process pid from /proc/PID/stat.
func Look(pid int) (Status, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Status{}, err
	}
	s, err := parseStat(text)
	if err != nil {
		return s, fmt.Errorf("read /proc/%d/stat: %w", pid, err)
	}
	s.Pid = pid
	return s, nil
}

var errFormat = errors.New("unknown format")

// parseStat reads a line of proc_pid_stat(5): the state is field 3, the parent
// 4, the session 6, the start 22. The second, a name in parentheses, may hold anything, so
// that its end is the last parenthesis.
func parseStat(text []byte) (Status, error) {
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 20 || len(fields[0]) != 1 {
		return Status{}, errFormat
	}
	parent, err := strconv.Atoi(fields[4-3])
	if err != nil {
		return Status{}, errFormat
	}
	session, err := strconv.Atoi(fields[6-3])
	if err != nil {
		return Status{}, errFormat
	}
	started, err := strconv.ParseUint(fields[22-3], 10, 64)
	if err != nil {
		return Status{}, errFormat
	}
	return Status{Identity: Identity{Started: started}, State: fields[0][0], Parent: parent, Session: session}, nil
}
