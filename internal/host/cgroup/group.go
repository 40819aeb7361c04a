package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// cpuPeriod is the period of the CPU quota, in microseconds: the kernel's
// default.
const cpuPeriod = 100_000

// Limits bound a group. Zero is unlimited.
type Limits struct {
	Memory int64 // bytes, none of them swap
	Pids   int   // processes and threads
}

// A Group is one control group in all hierarchies. It holds nothing open; its
// methods may be called concurrently.
type Group struct {
	layout Layout
	parent string
	name   string
}

// At names the group parent/name without making it: what a recovery needs to
// clean up.
func (l Layout) At(parent, name string) *Group {
	return &Group{layout: l, parent: parent, name: name}
}

// Create makes the group parent/name and limits it. A group that is there
// already is limited anew. On error nothing is left behind but the parent.
func (l Layout) Create(parent, name string, limits Limits) (*Group, error) {
	g := l.At(parent, name)
	if len(l.folders()) == 0 {
		return nil, errors.New("make cgroup: no cgroup hierarchy is mounted")
	}
	err := g.make()
	if err == nil {
		err = g.limit(limits)
	}
	if errors.Is(err, fs.ErrNotExist) && l.V2 != "" {
		// The parent was there, but does not hand its controllers down (yet).
		if err = g.makeParent(l.V2); err == nil {
			err = g.limit(limits)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make cgroup %q: %w", name, err), g.rmdir())
	}
	return g, nil
}

func (g *Group) make() error {
	for _, dir := range g.layout.folders() {
		parent := filepath.Join(dir, g.parent)
		if err := os.Mkdir(filepath.Join(parent, g.name), 0o755); errors.Is(err, fs.ErrNotExist) {
			if err := g.makeParent(dir); err != nil {
				return err
			}
			err = os.Mkdir(filepath.Join(parent, g.name), 0o755)
			if err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		} else if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// makeParent makes the parent in one hierarchy. In version 2 a controller
// reaches a group only if every folder above hands it down.
func (g *Group) makeParent(dir string) error {
	parent := filepath.Join(dir, g.parent)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	if dir != g.layout.V2 {
		return nil
	}
	for _, d := range []string{dir, parent} {
		if err := g.layout.enable(d); err != nil {
			return err
		}
	}
	return nil
}

// enable makes a version 2 group hand its controllers down.
func (l Layout) enable(dir string) error { return hand(dir, "+", l.V2Controllers) }

// disable undoes enable.
func (l Layout) disable(dir string) error {
	enabled, err := readWords(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	return hand(dir, "-", enabled)
}

// hand writes those of the available controllers that groups use to a version
// 2 group, each behind sign.
func hand(dir, sign string, available []string) error {
	var change []string
	for _, c := range []string{"memory", "cpu", "pids"} {
		if slices.Contains(available, c) {
			change = append(change, sign+c)
		}
	}
	if len(change) == 0 {
		return nil
	}
	return write(filepath.Join(dir, "cgroup.subtree_control"), strings.Join(change, " "))
}

// dir returns the group's folder for a controller, and whether that is a
// version 2 one. "" means that nothing controls it.
func (g *Group) dir(controller string) (string, bool) {
	if d := g.layout.V1[controller]; d != "" {
		return filepath.Join(d, g.parent, g.name), false
	}
	if slices.Contains(g.layout.V2Controllers, controller) {
		return g.unified(), true
	}
	return "", false
}

// unified returns the group's folder in the version 2 hierarchy, or "".
func (g *Group) unified() string {
	if g.layout.V2 == "" {
		return ""
	}
	return filepath.Join(g.layout.V2, g.parent, g.name)
}

func (g *Group) limit(l Limits) error {
	return errors.Join(g.limitMemory(l.Memory), g.limitPids(l.Pids))
}

func (g *Group) limitMemory(limit int64) error {
	dir, v2 := g.dir("memory")
	if dir == "" || limit == 0 {
		return nil
	}
	bytes := strconv.FormatInt(limit, 10)
	if v2 {
		return errors.Join(
			write(filepath.Join(dir, "memory.max"), bytes),
			writeIfThere(filepath.Join(dir, "memory.swap.max"), "0"),
			// The processes of one instance are useless without each other.
			writeIfThere(filepath.Join(dir, "memory.oom.group"), "1"))
	}
	return errors.Join(
		write(filepath.Join(dir, "memory.limit_in_bytes"), bytes),
		writeIfThere(filepath.Join(dir, "memory.memsw.limit_in_bytes"), bytes))
}

func (g *Group) limitPids(limit int) error {
	dir, _ := g.dir("pids")
	if dir == "" || limit == 0 {
		return nil
	}
	return write(filepath.Join(dir, "pids.max"), strconv.Itoa(limit))
}

// LimitCPU gives the group at most cpus cores; 0 is unlimited. It is apart
// from Create because whoever starts a process inside must not be slowed.
func (g *Group) LimitCPU(cpus float64) error {
	dir, v2 := g.dir("cpu")
	if dir == "" {
		return nil
	}
	quota := int64(cpus * cpuPeriod)
	if cpus > 0 {
		quota = max(quota, 1000) // the kernel's minimum
	}
	if v2 {
		value := "max"
		if cpus > 0 {
			value = strconv.FormatInt(quota, 10)
		}
		return write(filepath.Join(dir, "cpu.max"), fmt.Sprintf("%s %d", value, cpuPeriod))
	}
	if cpus <= 0 {
		quota = -1
	}
	return errors.Join(
		write(filepath.Join(dir, "cpu.cfs_period_us"), strconv.Itoa(cpuPeriod)),
		write(filepath.Join(dir, "cpu.cfs_quota_us"), strconv.FormatInt(quota, 10)))
}

// Names returns the names of the groups below parent, in any hierarchy.
func (l Layout) Names(parent string) ([]string, error) {
	var names []string
	for _, dir := range l.folders() {
		entries, err := os.ReadDir(filepath.Join(dir, parent))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() && !slices.Contains(names, e.Name()) {
				names = append(names, e.Name())
			}
		}
	}
	return names, nil
}

// RemoveParent removes an empty parent. One that still has groups stays, and
// that is no error; nor is a place that can't be written to, whether there is a
// parent in it or not.
func (l Layout) RemoveParent(parent string) error {
	var errs []error
	for _, dir := range l.folders() {
		err := os.Remove(filepath.Join(dir, parent))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !isBusy(err) && !isReadOnly(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
