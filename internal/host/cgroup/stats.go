package cgroup

import (
	"path/filepath"
	"time"
)

// Stats is a measurement of a group. What no hierarchy measures is 0.
type Stats struct {
	Memory   int64         // bytes charged, without the file cache that can be dropped
	CPU      time.Duration // used since the group was made
	Pids     int           // processes and threads
	OOMKills int64         // processes killed for want of memory
}

// Stats measures the group.
func (g *Group) Stats() (Stats, error) {
	var s Stats
	var err error
	if s.Memory, err = g.memory(); err != nil {
		return s, err
	}
	if s.CPU, err = g.cpu(); err != nil {
		return s, err
	}
	if dir, _ := g.dir("pids"); dir != "" {
		n, err := readInt(filepath.Join(dir, "pids.current"))
		if err != nil {
			return s, err
		}
		s.Pids = int(n)
	}
	s.OOMKills, err = g.OOMKills()
	return s, err
}

func (g *Group) memory() (int64, error) {
	dir, v2 := g.dir("memory")
	if dir == "" {
		return 0, nil
	}
	usage, key := "memory.usage_in_bytes", "total_inactive_file"
	if v2 {
		usage, key = "memory.current", "inactive_file"
	}
	total, err := readInt(filepath.Join(dir, usage))
	if err != nil {
		return 0, err
	}
	cache, err := readKey(filepath.Join(dir, "memory.stat"), key)
	if err != nil {
		return 0, err
	}
	return max(total-cache, 0), nil
}

func (g *Group) cpu() (time.Duration, error) {
	if dir := g.layout.V1["cpuacct"]; dir != "" {
		n, err := readInt(filepath.Join(dir, g.parent, g.name, "cpuacct.usage"))
		return time.Duration(n), err
	}
	dir, v2 := g.dir("cpu")
	if !v2 {
		return 0, nil
	}
	n, err := readKey(filepath.Join(dir, "cpu.stat"), "usage_usec")
	return time.Duration(n) * time.Microsecond, err
}

// OOMKills returns how many processes of the group the kernel has killed for
// want of memory.
func (g *Group) OOMKills() (int64, error) {
	dir, v2 := g.dir("memory")
	switch {
	case dir == "":
		return 0, nil
	case v2:
		return readKey(filepath.Join(dir, "memory.events"), "oom_kill")
	default:
		return readKey(filepath.Join(dir, "memory.oom_control"), "oom_kill")
	}
}
