package leak

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
)

func isNoProcess(err error) bool { return errors.Is(err, syscall.ESRCH) }

// A process is one line of the process table.
type process struct {
	pid, parent int
	comm        string
	state       string
	started     string // clock ticks since boot: tells a reused pid apart
	cmdline     string
}

func addProcesses(s *scope, state State) error {
	all, err := processes()
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.pid != os.Getpid() && (s.descends(all, p) || s.claims(p)) {
			state.add("process %d (%s, state %s, started %s): %s", p.pid, p.comm, dead(p.state), p.started, p.cmdline)
		}
	}
	return nil
}

// dead keeps only what does not change from moment to moment.
func dead(state string) string {
	if state == "Z" {
		return "zombie"
	}
	return "alive"
}

func (s *scope) descends(all map[int]process, p process) bool {
	for range len(all) {
		for _, root := range s.descendants {
			if p.parent == root {
				return true
			}
		}
		parent, ok := all[p.parent]
		if !ok {
			return false
		}
		p = parent
	}
	return false
}

// claims reports whether p shows by itself that it belongs to the work.
func (s *scope) claims(p process) bool {
	if s.named(p.cmdline) {
		return true
	}
	dir := "/proc/" + strconv.Itoa(p.pid)
	if groups, err := os.ReadFile(dir + "/cgroup"); err == nil && s.named(string(groups)) {
		return true
	}
	for _, link := range []string{"/exe", "/root", "/cwd"} {
		if target, err := os.Readlink(dir + link); err == nil && s.placed(target) {
			return true
		}
	}
	return false
}

func processes() (map[int]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	all := make(map[int]process, len(entries))
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, ok := readProcess(pid); ok {
			all[pid] = p
		}
	}
	return all, nil
}

// readProcess reads one process's state; the format of the stat file is that
// of proc_pid_stat(5). The name stands in parentheses and may hold anything,
// parentheses too, so that the last one ends it.
func readProcess(pid int) (process, bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return process{}, false
	}
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return process{}, false
	}
	fields := strings.Fields(string(stat[end+1:]))
	if len(fields) < 20 {
		return process{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return process{}, false
	}
	cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline")) // gone by now, or another user's
	return process{
		pid:     pid,
		parent:  parent,
		comm:    string(stat[open+1 : end]),
		state:   fields[0],
		started: fields[19],
		cmdline: strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " ")),
	}, true
}

// Processes lists the living processes that a snapshot would count, for a
// test that wants to kill one.
func Processes(options ...Option) ([]int, error) {
	var s scope
	for _, o := range options {
		o(&s)
	}
	all, err := processes()
	if err != nil {
		return nil, err
	}
	var pids []int
	for pid, p := range all {
		if pid != os.Getpid() && p.state != "Z" && (s.descends(all, p) || s.claims(p)) {
			pids = append(pids, pid)
		}
	}
	sort.Ints(pids)
	return pids, nil
}
