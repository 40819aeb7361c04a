// Package setup writes the script that turns a process, forked into namespaces
// of its own, into an instance: it mounts what the function is to see, gives up
// every privilege, starts the function, and stays as the first process of the
// instance's pid namespace.
//
// It says what is done; package script carries it out, and the container
// driver decides for whom.
package setup

import (
	"errors"

	"github.com/unifaas/unifaas/internal/sandbox/container/script"
)

// A Plan says what an instance is to look like.
type Plan struct {
	Argv []string
	Env  []string
	Dir  string // working folder
	UID  uint32 // inside
	GID  uint32 // inside
	// Root says that the process begins as root among the instance's own
	// users, and that the root file system's mount comes through the gate.
	// Otherwise it begins as the function's user, the only one there is, and
	// mounts Rootfs itself.
	Root     bool
	Hostname string
	Rootfs   string
	Tmp      int64 // bytes of /tmp
	Shm      int64 // bytes of /dev/shm
	Masked   []string
	ReadOnly []string
	Limits   []Limit
	// Filter is a seccomp program: 8 bytes for each instruction, as in the
	// kernel's struct sock_filter.
	Filter []byte
	// AppArmor is the profile that the function is executed under; "" leaves it
	// the platform's.
	AppArmor string
	// LastCapability is the highest number of a capability that the kernel
	// has.
	LastCapability int
	// Cgroup says that the version 2 hierarchy is shown at /sys/fs/cgroup.
	Cgroup bool
	// Serve says that the first process hands out sockets by
	// [script.DialFD].
	Serve bool
}

// A Limit is a resource limit of setrlimit(2).
type Limit struct {
	Resource   uint32
	Soft, Hard uint64
}

// Compile writes the script.
//
// It waits at the gate for a packet with the instance's name, of at most
// [script.MaxID] bytes, and, if p says so, a mount; and answers with
// [script.Done] when the function has been executed.
func Compile(p *Plan) (*script.Program, error) {
	if len(p.Argv) == 0 {
		return nil, errors.New("no command")
	}
	w := &writer{Plan: p}
	for _, write := range []func(){w.awaitGate, w.hideGroups, w.enterRoot, w.settle, w.drop, w.start, w.stay} {
		write()
	}
	return w.Program()
}

// A writer writes the script of one plan.
type writer struct {
	script.Writer
	*Plan
}

// Registers, by what they hold all the time. The others, from r0 on, are used
// from one operation to the next.
const (
	r0 = iota
	r1
	r2
	rRoot
	rTarget // what was looked up: a place to mount on
	rDev
	rEmpty    // a mount of an empty folder
	rFunction // the function's process
	rSignals  // a descriptor that is readable when a child has ended
)

var number = script.Number[uint64]
