// Package leak tells what a piece of work left behind on the host: it takes a
// snapshot before, another after, and lists what is new. Tests and the
// platform's own checks use it.
//
// The machine is shared, so a snapshot counts only what can be attributed to
// the work: by a node id in a name, a command line or a cgroup, by descent
// from a process, or by a folder. It must not know any sandbox.
package leak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"
	"time"
)

// An Option says what counts.
type Option func(*scope)

// A scope is what a snapshot attributes things by.
type scope struct {
	names       []string
	dirs        []string
	caches      []string
	descendants []int
	fds         bool
}

// Named counts everything whose name holds id: processes by their command
// line or cgroup, cgroups, network interfaces, named network namespaces, tables
// of nftables, mounts, unix sockets and entries of /dev/shm and the temporary
// folder. A short id also matches by accident: give one that nobody else uses.
func Named(id string) Option { return func(s *scope) { s.names = append(s.names, id) } }

// Under counts the files below dir, mounts at or from there, unix sockets
// bound there, and processes that run from or in there.
func Under(dir string) Option { return func(s *scope) { s.dirs = append(s.dirs, dir) } }

// NamedUnder is Under for a folder that keeps things, a cache for instance:
// of its files only those count whose name holds a name given with Named.
func NamedUnder(dir string) Option { return func(s *scope) { s.caches = append(s.caches, dir) } }

// Descendants counts the children of process pid, theirs, and so on, zombies
// too. One that was adopted by another process no longer counts by descent.
func Descendants(pid int) Option {
	return func(s *scope) { s.descendants = append(s.descendants, pid) }
}

// Self counts this process's descendants and its open file descriptors.
func Self() Option {
	return func(s *scope) {
		s.descendants = append(s.descendants, os.Getpid())
		s.fds = true
	}
}

// A State is what was there at one moment: for each thing, in words, how
// often.
type State map[string]int

func (s State) add(format string, args ...any) { s[fmt.Sprintf(format, args...)]++ }

// Snapshot lists what is there now. What the user may not see (another user's
// command line) is not counted.
func Snapshot(options ...Option) (State, error) {
	var sc scope
	for _, o := range options {
		o(&sc)
	}
	state := State{}
	for _, collect := range []func(*scope, State) error{
		addProcesses, addMounts, addCgroups, addSockets, addNetwork, addTables, addFiles, addDescriptors,
	} {
		if err := collect(&sc, state); err != nil {
			return nil, fmt.Errorf("take leak snapshot: %w", err)
		}
	}
	return state, nil
}

// Diff lists, sorted, what after has more of than before.
func Diff(before, after State) []string {
	var left []string
	for thing, n := range after {
		switch more := n - before[thing]; {
		case more == 1:
			left = append(left, thing)
		case more > 1:
			left = append(left, fmt.Sprintf("%s (%d times)", thing, more))
		}
	}
	sort.Strings(left)
	return left
}

// Settle takes snapshots until nothing is left over before, or ctx ends, and
// returns the last difference. The kernel finishes some removals (network
// namespaces, reparented processes) after the call that asked for them.
func Settle(ctx context.Context, before State, options ...Option) ([]string, error) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		after, err := Snapshot(options...)
		if err != nil {
			return nil, err
		}
		left := Diff(before, after)
		if len(left) == 0 {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return left, nil
		case <-ticker.C:
		}
	}
}

// named reports whether text holds one of the scope's names.
func (s *scope) named(text string) bool {
	for _, name := range s.names {
		if strings.Contains(text, name) {
			return true
		}
	}
	return false
}

// placed reports whether path is one of the scope's folders or below one.
func (s *scope) placed(path string) bool {
	return below(path, s.dirs) || below(path, s.caches)
}

func below(path string, dirs []string) bool {
	for _, dir := range dirs {
		if path == dir || strings.HasPrefix(path, dir+"/") {
			return true
		}
	}
	return false
}

// vanished reports whether err says that a thing went away, or is not ours to
// see, while it was being looked at.
func vanished(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) || isNoProcess(err)
}
