package container

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

const (
	// DefaultFirstUID is where the numbers of instances begin. Between
	// 2000200000, the last that directory services are usually set up with
	// (sssd), and 0x7ffe0000, the first of the next range that systemd lists as
	// taken (UIDS-GIDS), nobody has users.
	DefaultFirstUID = 0x77390000
	// idRange is how many numbers an instance gets: those that an image can
	// have, 0 to 65535.
	idRange = 1 << 16
	// idRanges is how many ranges there are: up to 0x7ffd0000.
	idRanges = (0x7ffd0000 - DefaultFirstUID) / idRange
)

// ids gives out ranges of user and group numbers, one for each instance: the
// kernel counts some things by user (inotify watches, keys, pipe buffers,
// processes), and instances must not share those counts. Its methods may be
// called concurrently.
type ids struct {
	first uint32

	mu    sync.Mutex
	taken [idRanges]bool
	next  int
}

// newIDs returns the ranges from first on, or nil if this process may not map
// them. Those that /etc/subuid or /etc/subgid give to somebody are left out.
func newIDs(node string, first uint32) *ids {
	if first == 0 {
		first = DefaultFirstUID
	}
	r := &ids{first: first}
	for _, file := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		f, err := os.Open(file)
		if err != nil {
			return nil
		}
		ok := r.mapped(f)
		_ = f.Close()
		if !ok {
			return nil
		}
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		if f, err := os.Open(file); err == nil {
			r.leaveOut(f)
			_ = f.Close()
		}
	}
	// Two platforms on one host begin in different places: sharing a range
	// would mean sharing the kernel's counts, and no more.
	hash := fnv.New32a()
	_, _ = io.WriteString(hash, node)
	r.next = int(hash.Sum32() % idRanges)
	return r
}

// mapped tells whether all ranges exist in this process's user namespace, by
// its map (user_namespaces(7)): lines of inside, outside, length.
func (r *ids) mapped(m io.Reader) bool {
	lines := bufio.NewScanner(m)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 3 {
			continue
		}
		start, err1 := strconv.ParseUint(f[0], 10, 32)
		length, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 == nil && err2 == nil && start <= uint64(r.first) && uint64(r.first)+idRange*idRanges <= start+length {
			return true
		}
	}
	return false
}

// leaveOut takes the ranges that subuid(5) lines, name:first:count, touch.
func (r *ids) leaveOut(m io.Reader) {
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
		for i := range r.taken {
			from := uint64(r.first) + uint64(i)*idRange
			if start < from+idRange && from < start+length {
				r.taken[i] = true
			}
		}
	}
}

// take returns the first number of a range that no instance has. The one that
// was given back longest ago comes first.
func (r *ids) take() (uint32, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range idRanges {
		i := r.next
		r.next = (r.next + 1) % idRanges
		if !r.taken[i] {
			r.taken[i] = true
			return r.first + uint32(i)*idRange, nil
		}
	}
	return 0, fmt.Errorf("all %d ranges of user numbers are taken", idRanges)
}

// set marks the range that begins with base as taken or not. What is not one
// of ours is passed over: it was recorded under other options.
func (r *ids) set(base uint32, taken bool) {
	if r == nil || base < r.first || (base-r.first)%idRange != 0 || (base-r.first)/idRange >= idRanges {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken[(base-r.first)/idRange] = taken
}
