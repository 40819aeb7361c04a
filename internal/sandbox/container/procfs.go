package container

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
	"github.com/unifaas/unifaas/internal/sandbox/container/script"
)

// statFields returns the fields of /proc/PID/stat from the third on. The
// second, the name, may hold anything but ends with the last parenthesis.
func statFields(stat []byte) ([]string, error) {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return nil, errors.New("unknown format of /proc/PID/stat")
	}
	return fields, nil
}

// instanceOf returns the instance whose first process pid is, or "".
func instanceOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	name, rest, _ := bytes.Cut(text, []byte{0})
	if string(name) != script.Name {
		return ""
	}
	return string(bytes.TrimRight(rest, "\x00"))
}

// ticksPerSecond is USER_HZ, 100 on all architectures that count.
const ticksPerSecond = 100

// processStats measures a process and its descendants, for want of a cgroup.
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
	// Fields 14, 15, 20 and 24 of proc(5): time in user mode, in the kernel,
	// threads, resident pages. A proportional size is not to be had of a
	// process that is not dumpable.
	numbers := [4]int64{}
	for n, f := range []int{14, 15, 20, 24} {
		if numbers[n], err = strconv.ParseInt(fields[f-3], 10, 64); err != nil {
			return err
		}
	}
	total.CPU += time.Duration(numbers[0]+numbers[1]) * time.Second / ticksPerSecond
	total.Pids += int(numbers[2])
	total.Memory += numbers[3] * int64(os.Getpagesize())
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
