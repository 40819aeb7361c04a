// Package measure reads what the laboratory needs to know of the machine: its
// facts, its memory, its load, and what processes take of them. It changes
// nothing and knows nothing of experiments.
package measure

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// root is where the machine's files are, for tests another one.
type root string

// machine is the machine that this runs on.
const machine root = "/"

func (r root) read(path string) ([]byte, error) { return os.ReadFile(filepath.Join(string(r), path)) }

// text returns a file's first line, "" where it can't be read.
func (r root) text(path string) string {
	b, err := r.read(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line)
}

// LoadAverage returns the load average of the last minute.
func LoadAverage() (float64, error) { return machine.load() }

func (r root) load() (float64, error) {
	text, err := r.read("proc/loadavg")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0, fmt.Errorf("read /proc/loadavg: %w", err)
	}
	return load, nil
}

// Available returns how many bytes can be had: MemAvailable of /proc/meminfo,
// and the free pages that the kernel keeps ready for each processor. Those are
// missing there, and since Linux 6.7 may be hundreds of MiB after much was
// freed.
func Available() (int64, error) { return machine.available() }

func (r root) available() (int64, error) {
	available, err := r.meminfo("MemAvailable")
	if err != nil {
		return 0, err
	}
	zones, err := r.read("proc/zoneinfo")
	if err != nil {
		return 0, err
	}
	return available + perProcessor(zones)*int64(os.Getpagesize()), nil
}

// perProcessor sums the pages on the lists of processors: in each zone's
// "pagesets", the lines "count: N" (those of a zone have no colon).
func perProcessor(zones []byte) (pages int64) {
	lines := bufio.NewScanner(bytes.NewReader(zones))
	for lines.Scan() {
		value, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "count:")
		if !ok {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil {
			pages += n
		}
	}
	return pages
}

func (r root) meminfo(key string) (int64, error) {
	text, err := r.read("proc/meminfo")
	if err != nil {
		return 0, err
	}
	return kibibytes(text, key)
}

// kibibytes returns the value of a line "Key:   123 kB", in bytes.
func kibibytes(text []byte, key string) (int64, error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		value, ok := strings.CutPrefix(lines.Text(), key+":")
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
		return n << 10, err
	}
	return 0, fmt.Errorf("no line %q", key)
}

// ProcessMemory is what a process takes.
type ProcessMemory struct {
	Pid    int
	Parent int
	// Name is the first word of its command line, without folders: what it
	// calls itself.
	Name string
	// PSS is its proportional set size in bytes: its own pages, and its share
	// of those that it shares.
	PSS int64
}

// Processes returns all processes that have memory. Those that end meanwhile,
// and the kernel's, are left out.
func Processes() ([]ProcessMemory, error) { return machine.processes() }

func (r root) processes() ([]ProcessMemory, error) {
	entries, err := os.ReadDir(filepath.Join(string(r), "proc"))
	if err != nil {
		return nil, err
	}
	var all []ProcessMemory
	denied := 0
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		p, err := r.process(pid)
		switch {
		case errors.Is(err, os.ErrPermission):
			denied++
		case err == nil && p.PSS > 0:
			all = append(all, p)
		}
	}
	if len(all) == 0 && denied > 0 {
		return nil, fmt.Errorf("read memory of processes: %w", os.ErrPermission)
	}
	return all, nil
}

func (r root) process(pid int) (ProcessMemory, error) {
	dir := fmt.Sprintf("proc/%d", pid)
	text, err := r.read(dir + "/smaps_rollup")
	if err != nil {
		return ProcessMemory{}, err
	}
	stat, err := r.read(dir + "/stat")
	if err != nil {
		return ProcessMemory{}, err
	}
	// Behind the name, which may have anything in it: state, parent.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return ProcessMemory{}, fmt.Errorf("read /%s/stat: %q", dir, stat)
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return ProcessMemory{}, err
	}
	pss, err := kibibytes(text, "Pss")
	return ProcessMemory{Pid: pid, Parent: parent, Name: r.name(dir), PSS: pss}, err
}

// Came returns the processes of after that have come since before and that the
// process platform may have brought: its descendants, those that nobody else
// is the parent of, and those of Docker's daemons. What another program of the
// machine starts meanwhile is not among them.
func Came(before, after []ProcessMemory, platform int) []ProcessMemory {
	old, now := map[int]bool{}, map[int]ProcessMemory{}
	for _, p := range before {
		old[p.Pid] = true
	}
	for _, p := range after {
		now[p.Pid] = p
	}
	var came []ProcessMemory
	for _, p := range after {
		if old[p.Pid] {
			continue
		}
		root, isNew := now[p.Parent], true
		for range after { // a line of parents is no longer than that
			if isNew = root.Pid != 0 && root.Pid != 1 && root.Pid != platform && !old[root.Pid]; !isNew {
				break
			}
			root = now[root.Parent]
		}
		// The first process may be one that can't be looked at.
		daemon := strings.HasPrefix(root.Name, "containerd") || strings.HasPrefix(root.Name, "dockerd")
		if !isNew && (root.Pid <= 1 || root.Pid == platform || daemon) {
			came = append(came, p)
		}
	}
	return came
}

func (r root) name(dir string) string {
	text, err := r.read(dir + "/cmdline")
	first, _, _ := bytes.Cut(text, []byte{0})
	if err != nil || len(first) == 0 {
		return r.text(dir + "/comm")
	}
	return filepath.Base(string(first))
}
