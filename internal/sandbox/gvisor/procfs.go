package gvisor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/sandbox"
)

// startTime returns when a process was started, in clock ticks since the
// machine's boot: field 22 of /proc/PID/stat (proc(5)). With its number it
// identifies a process for as long as the machine runs.
func startTime(pid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStartTime(text)
}

func parseStartTime(stat []byte) (uint64, error) {
	fields, err := statFields(stat)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(fields[22-3], 10, 64)
}

// statFields returns the fields of /proc/PID/stat from the third on. The
// second, the name, may hold anything but ends with the last parenthesis.
func statFields(stat []byte) ([]string, error) {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return nil, errors.New("unknown format of /proc/PID/stat")
	}
	return fields, nil
}

// sandboxID returns the instance whose sandbox process pid is, or "".
func sandboxID(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	args := bytes.Split(bytes.TrimSuffix(text, []byte{0}), []byte{0})
	if len(args) < 2 || string(args[0]) != sandboxName {
		return ""
	}
	return string(args[len(args)-1])
}

// ticksPerSecond is USER_HZ, which is 100 on all architectures of gVisor.
const ticksPerSecond = 100

// processStats measures a sandbox by its processes, for want of a cgroup:
// proportional set sizes, so that shared pages count once.
func processStats(pid int) (sandbox.Stats, error) {
	var total sandbox.Stats
	if err := addProcess(&total, pid); err != nil {
		return total, fmt.Errorf("measure process %d: %w", pid, err)
	}
	return total, nil
}

func addProcess(total *sandbox.Stats, pid int) error {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return err
	}
	fields, err := statFields(stat)
	if err != nil {
		return err
	}
	// Fields 14, 15 and 20 of proc(5): time in user mode, in the kernel,
	// number of threads.
	for _, f := range []int{14, 15} {
		ticks, err := strconv.ParseInt(fields[f-3], 10, 64)
		if err != nil {
			return err
		}
		total.CPU += time.Duration(ticks) * time.Second / ticksPerSecond
	}
	threads, err := strconv.Atoi(fields[20-3])
	if err != nil {
		return err
	}
	total.Pids += threads
	total.Memory += proportionalSize(pid)
	for _, child := range children(pid) {
		// One that has ended meanwhile counts nothing.
		_ = addProcess(total, child)
	}
	return nil
}

// children returns the child processes of all of a process's threads.
func children(pid int) []int {
	// It matches nothing only where the process has ended.
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	var pids []int
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// proportionalSize returns a process's Pss in bytes, 0 if it can't be known.
func proportionalSize(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}
