package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// host is what a reader must know of the machine and the run to judge the
// rows. It is written beside them.
type host struct {
	Started  time.Time         `json:"started"`
	Finished time.Time         `json:"finished"`
	Quick    bool              `json:"quick"`
	CPU      string            `json:"cpu"`
	Cores    int               `json:"cores"`
	Memory   uint64            `json:"memory_mib"`
	Kernel   string            `json:"kernel"`
	Cgroup   string            `json:"cgroup"`
	Root     bool              `json:"root"`
	Load     [2]string         `json:"load_average"` // before and after
	Versions map[string]string `json:"versions"`     // "" is not there
	Legs     []legFacts        `json:"legs"`
}

type legFacts struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	Before  string  `json:"load_average_before"`
	After   string  `json:"load_average_after"`
}

func newHost(ctx context.Context, b *bench) *host {
	h := &host{
		Started: time.Now(), Quick: b.options.quick, Cores: runtime.NumCPU(), Root: os.Geteuid() == 0,
		CPU: cpuModel(), Cgroup: cgroupVersion(), Versions: map[string]string{},
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		h.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		h.Memory = uint64(info.Totalram) * uint64(info.Unit) >> 20
	}
	h.Load[0] = loadAverage()
	for program, argv := range map[string][]string{
		"unifaas": {b.unifaas, "version"}, "go": {"go", "version"}, "nginx": {"/usr/sbin/nginx", "-v"},
		"wrk": {"wrk", "-v"}, "docker": {"docker", "--version"}, "dockerd": {"dockerd", "--version"},
		"runc": {"runc", "--version"},
	} {
		h.Versions[program] = firstLineOf(ctx, argv)
	}
	return h
}

func (h *host) finish() { h.Finished, h.Load[1] = time.Now(), loadAverage() }

func (h *host) write(path string) error {
	text, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// firstLineOf a program's output; "" when it can't be run. Some programs exit
// with an error after telling their version.
func firstLineOf(ctx context.Context, argv []string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
	return string(line)
}

// loadAverage over 1, 5 and 15 minutes, proc_loadavg(5).
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// cgroupVersion tells which hierarchies are mounted where systemd puts them.
func cgroupVersion() string {
	magic := func(path string) int64 {
		var fs unix.Statfs_t
		if unix.Statfs(path, &fs) != nil {
			return 0
		}
		return int64(fs.Type)
	}
	switch {
	case magic("/sys/fs/cgroup") == unix.CGROUP2_SUPER_MAGIC:
		return "v2"
	case magic("/sys/fs/cgroup/unified") == unix.CGROUP2_SUPER_MAGIC:
		return "hybrid"
	case magic("/sys/fs/cgroup/memory") == unix.CGROUP_SUPER_MAGIC:
		return "v1"
	}
	return "unknown"
}
