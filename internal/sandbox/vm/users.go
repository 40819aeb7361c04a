package vm

import (
	"fmt"
	"hash/fnv"
	"io"
	"sync"
)

const (
	// firstUser is where the numbers of monitors begin: below those of
	// containers, and above all that people and directory services have
	// (systemd's UIDS-GIDS.md).
	firstUser = 0x77370000
	allUsers  = 1 << 16
)

// users gives out user numbers, one for each machine's monitor: whoever breaks
// out of one machine is nobody to the next. Its methods may be called
// concurrently.
type users struct {
	mu    sync.Mutex
	taken map[int]bool
	next  int
}

// newUsers returns the numbers. Two platforms on one host begin in different
// places.
func newUsers(node string) *users {
	hash := fnv.New32a()
	_, _ = io.WriteString(hash, node)
	return &users{taken: map[int]bool{}, next: int(hash.Sum32() % allUsers)}
}

// take returns a number that no machine has. The one that was given back
// longest ago comes first.
func (u *users) take() (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for range allUsers {
		uid := firstUser + u.next
		u.next = (u.next + 1) % allUsers
		if !u.taken[uid] {
			u.taken[uid] = true
			return uid, nil
		}
	}
	return 0, fmt.Errorf("all %d user numbers of machine monitors are taken", allUsers)
}

// set marks a number as taken or not.
func (u *users) set(uid int, taken bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if taken {
		u.taken[uid] = true
		return
	}
	delete(u.taken, uid)
}
