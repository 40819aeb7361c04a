package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ErrNotDelegated is in the chain of [Parent.Usable]'s error when the process
// is an ordinary user to whom nobody has given a group to divide: that is how
// the machine is set up, not a failure.
var ErrNotDelegated = errors.New("control groups are not delegated to this user")

// A Parent is the group in which one platform makes the groups of its
// instances. It is made with the first of them and removed with the last. Its
// methods may be called concurrently, and several Parents of one name, in one
// process or in many, don't disturb each other.
type Parent struct {
	name     string
	uid      int
	discover func() (Layout, error)

	mu     sync.Mutex
	found  *found // nil until the hierarchies have been read, and when a trial has failed
	usable bool
	trials atomic.Int64

	// using keeps the parent from going while a group is made in it.
	using sync.RWMutex
}

// NewParent names a parent, for instance "unifaas-" and a node id. Nothing is
// read or made before it is needed.
func NewParent(name string) *Parent {
	return &Parent{name: name, uid: os.Geteuid(), discover: Discover}
}

// Usable returns nil when groups can be made and limited, which it tries. Only
// that answer is kept: what stood against it may pass. The error says why, and
// is an [ErrNotDelegated] where a platform may go on without groups.
func (p *Parent) Usable() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.usable {
		return nil
	}
	err := p.try()
	if err != nil {
		p.found = nil // the mounts or what was delegated may have changed by the next time
	}
	if errors.Is(err, ErrNotDelegated) {
		return err
	}
	if err != nil {
		return fmt.Errorf("control groups can't be used: %w", err)
	}
	p.usable = true
	return nil
}

// Use tells whether an instance is to get a group: yes where groups can be
// made, no where they are not delegated to this user. An error is neither:
// then an instance must not be started, for it would run without its limits.
func (p *Parent) Use() (bool, error) {
	err := p.Usable()
	if errors.Is(err, ErrNotDelegated) {
		return false, nil
	}
	return err == nil, err
}

// Remedy returns what would make [Parent.Usable] return nil, "" when that is
// unknown.
func Remedy(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrNotDelegated):
		return "run as root, or as a systemd unit of its own with Delegate=cpu memory pids"
	case errors.Is(err, errMissing):
		return "boot with the controllers enabled (for memory: cgroup_enable=memory on the kernel's command line)"
	case isBusy(err):
		return "start the platform in a control group of its own, for instance as a systemd service with Delegate=yes"
	case errors.Is(err, fs.ErrPermission), isReadOnly(err):
		return "mount the cgroup hierarchies writable (in a container: run it privileged)"
	default:
		return "see the cgroup mounts in /proc/self/mountinfo and their limits (cgroup.max.descendants)"
	}
}

var errMissing = errors.New("no cgroup controller for")

// try takes possession of the place and makes and removes a group, the only
// way to know whether we may. The caller holds mu.
func (p *Parent) try() error {
	f, err := p.locate()
	if err != nil {
		return err
	}
	if missing := f.layout.Missing(); len(missing) > 0 {
		// To an ordinary user also in a group of their own: many a session's
		// has some controllers only, and whoever made it can give the others.
		return p.judge(nil, fmt.Errorf("%w %s", errMissing, strings.Join(missing, ", ")))
	}
	if err := f.layout.claim(p.leaf()); err != nil {
		return p.judge(nil, err)
	}
	name := fmt.Sprintf("%s-trial-%d-%d", strings.TrimPrefix(p.name, "unifaas-"), os.Getpid(), p.trials.Add(1))
	group, err := p.create(f.layout, name, Limits{Memory: 1 << 20, Pids: 1})
	if err != nil {
		return p.judge(f, err)
	}
	return p.Remove(context.Background(), group)
}

// judge marks an ordinary user's error as what it most likely is. One to whom
// the place f was delegated has a right to know of failures in it.
func (p *Parent) judge(f *found, err error) error {
	if p.uid == 0 || f != nil && f.delegated {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotDelegated, err)
}

// leaf is the group that the platform itself moves to where the place must
// have no processes of its own.
func (p *Parent) leaf() string { return p.name + ".platform" }

// Leave undoes what taking possession of the platform's own group has changed
// in it: the process moves back, the group made for it goes, and controllers
// are not handed down any more. Where other groups are still below, such as
// those of instances that go on, all stays as it is. Nothing is to be made
// through any Parent of this name afterwards.
func (p *Parent) Leave() error {
	l, err := p.layout()
	if err != nil {
		return err
	}
	if err := l.leave(l.own(), p.leaf()); err != nil {
		return fmt.Errorf("leave the control group %q: %w", p.leaf(), err)
	}
	return nil
}

// locate reads the hierarchies, until a trial fails. The caller holds mu.
func (p *Parent) locate() (*found, error) {
	if p.found != nil {
		return p.found, nil
	}
	layout, err := p.discover()
	if err != nil {
		return nil, fmt.Errorf("read cgroup mounts: %w", err)
	}
	f := &found{layout: layout}
	if p.uid != 0 {
		f.layout, f.delegated = layout.delegated(p.leaf(), p.uid)
	}
	p.found = f
	return f, nil
}

func (p *Parent) layout() (Layout, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, err := p.locate()
	if err != nil {
		return Layout{}, err
	}
	return f.layout, nil
}

// Create makes the group name and limits it. On error nothing is left behind.
func (p *Parent) Create(name string, limits Limits) (*Group, error) {
	l, err := p.layout()
	if err != nil {
		return nil, err
	}
	return p.create(l, name, limits)
}

const (
	// createTries and createPause: a parent of the same name elsewhere may
	// remove the folder, empty for a moment, that this one makes a group in.
	createTries = 20
	createPause = time.Millisecond
)

func (p *Parent) create(l Layout, name string, limits Limits) (*Group, error) {
	p.using.RLock()
	defer p.using.RUnlock()
	var group *Group
	var err error
	for range createTries {
		if group, err = l.Create(p.name, name, limits); !errors.Is(err, fs.ErrNotExist) {
			return group, err
		}
		time.Sleep(createPause)
	}
	return group, err
}

// Remove kills what is in group, removes it, and removes the parent with the
// last of its groups. See [Group.Remove].
func (p *Parent) Remove(ctx context.Context, group *Group) error {
	if err := group.Remove(ctx); err != nil {
		return err
	}
	return p.tidy(group.layout, group.parent)
}

// tidy removes a parent without groups.
func (p *Parent) tidy(l Layout, parent string) error {
	// Held by others, it is in use: whoever is last removes it.
	if !p.using.TryLock() {
		return nil
	}
	defer p.using.Unlock()
	return l.RemoveParent(parent)
}

// Sweep removes the groups, whoever made them, that known does not name, and the
// parent when that leaves none: a platform that is killed at the wrong moment leaves
// it empty. See [Parent.Remove].
func (p *Parent) Sweep(ctx context.Context, known map[string]bool) error {
	l, err := p.layout()
	if err != nil {
		return err
	}
	names, err := l.Names(p.name)
	errs := []error{err}
	for _, name := range names {
		if !known[name] {
			errs = append(errs, p.Remove(ctx, l.At(p.name, name)))
		}
	}
	return errors.Join(append(errs, p.tidy(l, p.name))...)
}

// Record returns what to write down of the group name before it is made, so
// that [Parent.Open] finds it in a later run: its name, or its path where the
// place is one that a later run may not be in.
func (p *Parent) Record(name string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f, err := p.locate(); err == nil && f.delegated {
		return filepath.Join(f.layout.V2, p.name, name)
	}
	return name
}

// Open names a group without making it. recorded is a group's name or what
// [Parent.Record] returned.
func (p *Parent) Open(recorded string) (*Group, error) {
	l, err := p.layout()
	if err != nil {
		return nil, err
	}
	if !filepath.IsAbs(recorded) {
		return l.At(p.name, recorded), nil
	}
	dir, name := filepath.Split(filepath.Clean(recorded))
	base, parent := filepath.Split(filepath.Clean(dir))
	if parent != p.name {
		return nil, fmt.Errorf("open cgroup %q: it is not below a %q", recorded, p.name)
	}
	l.V2 = filepath.Clean(base)
	return l.At(parent, name), nil
}
