package cgroup

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Memory is how the groups around a place bound the memory of what is in it.
// Both are math.MaxInt64 where nothing does.
type Memory struct {
	Limit int64 // the least limit, bytes
	Left  int64 // what may still be charged before any limit is met, bytes
}

// Memory tells how the parent and the groups above it bound what all instances
// take together. A limit of the platform's own group counts only where that is
// one of them, or where instances get no groups and stay in the platform's.
func (p *Parent) Memory() (Memory, error) {
	limited, err := p.Use()
	l, readErr := p.layout()
	if readErr != nil {
		return Memory{}, readErr
	}
	place := filepath.Join(l.memoryRoot(), p.name)
	if !limited && err == nil {
		place = l.memoryHome()
	}
	return l.memoryAt(place)
}

// memoryRoot is the folder of the memory controller's hierarchy in which
// parents are made, "" where there is no such controller.
func (l Layout) memoryRoot() string {
	if dir := l.V1["memory"]; dir != "" {
		return dir
	}
	if slices.Contains(l.V2Controllers, "memory") {
		return l.V2
	}
	return ""
}

// memoryHome is the folder of the group that this process's memory is charged
// to, "" where that can't be seen.
func (l Layout) memoryHome() string {
	dir := l.V1["memory"]
	if dir == "" {
		return l.own()
	}
	home, err := l.home()
	if err != nil {
		return ""
	}
	own := filepath.Join(dir, home[dir])
	if _, err := os.Stat(own); err != nil {
		return dir // a mount that shows our own group as its root
	}
	return own
}

// memoryAt goes from place, which need not exist, to the hierarchy's top.
func (l Layout) memoryAt(place string) (Memory, error) {
	least := Memory{Limit: math.MaxInt64, Left: math.MaxInt64}
	if place == "" || l.memoryRoot() == "" {
		return least, nil
	}
	v2 := l.V1["memory"] == ""
	for dir := place; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err != nil {
			if dir == place {
				continue // it is made with the first instance
			}
			break // above the mount
		}
		m, err := memoryOf(dir, v2)
		if gone(err) {
			continue // it went with its last instance
		}
		if err != nil {
			return Memory{}, err
		}
		least = Memory{min(least.Limit, m.Limit), min(least.Left, m.Left)}
	}
	return least, nil
}

// memoryOf reads one group. The file cache that the kernel would drop first
// counts as not charged.
func memoryOf(dir string, v2 bool) (Memory, error) {
	read := limitV1
	usage, cache := "memory.usage_in_bytes", "total_inactive_file"
	if v2 {
		read, usage, cache = limitV2, "memory.current", "inactive_file"
	}
	limit, err := read(dir)
	if err != nil || limit == math.MaxInt64 {
		return Memory{limit, math.MaxInt64}, err
	}
	charged, err := readInt(filepath.Join(dir, usage))
	if err != nil {
		return Memory{}, err
	}
	droppable, err := readKey(filepath.Join(dir, "memory.stat"), cache)
	if err != nil {
		return Memory{}, err
	}
	return Memory{limit, max(limit-max(charged-droppable, 0), 0)}, nil
}

// limitV2 reads memory.max, which the hierarchy's root does not have.
func limitV2(dir string) (int64, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "memory.max"))
	text := strings.TrimSpace(string(raw))
	if errors.Is(err, fs.ErrNotExist) || err == nil && text == "max" {
		return math.MaxInt64, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// limitV1 reads a group's limit, and that of the groups above it, of which a
// container's mount shows nothing else. The kernel's word for "no limit" is
// the largest number of whole pages.
func limitV1(dir string) (int64, error) {
	limit, err := readInt(filepath.Join(dir, "memory.limit_in_bytes"))
	if err != nil {
		return 0, err
	}
	if above, err := readKey(filepath.Join(dir, "memory.stat"), "hierarchical_memory_limit"); err == nil {
		limit = min(limit, above)
	}
	if limit >= math.MaxInt64&^(1<<20-1) {
		return math.MaxInt64, nil
	}
	return limit, nil
}
