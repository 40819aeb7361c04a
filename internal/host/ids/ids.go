// Package ids gives out user and group numbers of the host that nobody else
// has: the kernel counts some things by user (inotify watches, keys, pipe
// buffers, processes) and lets a user signal and trace what is the user's own,
// so that what must not touch each other needs numbers of its own.
//
// It must not know who gets them.
package ids

import (
	"bufio"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
)

// Numbers that are free on the usual host: nobody has users between 2000200000,
// the last that directory services are usually set up with (sssd), and
// 0x7ffe0000, the first of the next range that systemd lists as taken
// (UIDS-GIDS).
const (
	// FirstRange is where the ranges begin of which each has all numbers that an
	// image can have, 0 to 65535. They end at FirstSingle.
	FirstRange = 0x77390000
	RangeSize  = 1 << 16
	Ranges     = (FirstSingle - FirstRange) / RangeSize
	// FirstSingle is the first of the numbers that are given out one by one.
	FirstSingle = 0x7ffd0000
	Singles     = 1 << 16
)

// A Space is what numbers are given out of: Count pieces of Size numbers each,
// from First on.
type Space struct {
	First, Size uint32
	Count       int
}

// RangeSpace returns the ranges, beginning elsewhere if first is not 0.
func RangeSpace(first uint32) Space {
	if first == 0 {
		first = FirstRange
	}
	return Space{First: first, Size: RangeSize, Count: Ranges}
}

// SingleSpace returns the single numbers.
func SingleSpace() Space { return Space{First: FirstSingle, Size: 1, Count: Singles} }

// An Allocator gives out the pieces of a space. Its methods may be called
// concurrently; they know no other process's.
type Allocator struct {
	space Space

	mu    sync.Mutex
	taken []bool
	next  int
}

// New returns an allocator of what is in the space, or nil if this process may
// not use the numbers. Those that /etc/subuid or /etc/subgid give to somebody
// are left out. It begins in a place that depends on the node: two platforms on
// one host that shared a piece would share the kernel's counts.
func New(node string, space Space) *Allocator {
	a := &Allocator{space: space, taken: make([]bool, space.Count)}
	for _, file := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		f, err := os.Open(file)
		if err != nil {
			return nil
		}
		ok := a.mapped(f)
		_ = f.Close()
		if !ok {
			return nil
		}
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		if f, err := os.Open(file); err == nil {
			a.leaveOut(f)
			_ = f.Close()
		}
	}
	hash := fnv.New32a()
	_, _ = io.WriteString(hash, node)
	a.next = int(hash.Sum32() % uint32(space.Count))
	return a
}

// mapped tells whether all numbers exist in this process's user namespace, by
// its map (user_namespaces(7)): lines of inside, outside, length.
func (a *Allocator) mapped(m io.Reader) bool {
	lines := bufio.NewScanner(m)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 3 {
			continue
		}
		start, err1 := strconv.ParseUint(f[0], 10, 32)
		length, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 == nil && err2 == nil && start <= uint64(a.space.First) && a.space.end() <= start+length {
			return true
		}
	}
	return false
}

// leaveOut takes the pieces that subuid(5) lines, name:first:count, touch.
func (a *Allocator) leaveOut(m io.Reader) {
	lines := bufio.NewScanner(m)
	for lines.Scan() {
		f := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(f) != 3 {
			continue
		}
		start, err1 := strconv.ParseUint(f[1], 10, 32)
		length, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 != nil || err2 != nil {
			continue
		}
		first, size, end := uint64(a.space.First), uint64(a.space.Size), a.space.end()
		if start >= end || start+length <= first || length == 0 {
			continue
		}
		from, to := (max(start, first)-first)/size, (min(start+length, end)-first-1)/size
		for i := from; i <= to; i++ {
			a.taken[i] = true
		}
	}
}

// end is the number after the last.
func (s Space) end() uint64 { return uint64(s.First) + uint64(s.Size)*uint64(s.Count) }

// index returns which piece begins with a number.
func (s Space) index(base uint32) (int, bool) {
	if uint64(base) < uint64(s.First) || uint64(base) >= s.end() || (base-s.First)%s.Size != 0 {
		return 0, false
	}
	return int((base - s.First) / s.Size), true
}

// Take returns the first number of a piece that nobody has. The one that was
// given back longest ago comes first.
func (a *Allocator) Take() (uint32, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for range a.taken {
		i := a.next
		a.next = (a.next + 1) % len(a.taken)
		if !a.taken[i] {
			a.taken[i] = true
			return a.space.First + uint32(i)*a.space.Size, nil
		}
	}
	return 0, fmt.Errorf("all %d pieces of %d user numbers from %d on are taken", len(a.taken), a.space.Size, a.space.First)
}

// Set marks the piece that begins with base as taken or not. What is not one
// of ours is passed over: it was recorded under other options. A nil allocator
// has none.
func (a *Allocator) Set(base uint32, taken bool) {
	if a == nil {
		return
	}
	i, ok := a.space.index(base)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.taken[i] = taken
}
