package main

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox/container/plan"
)

// staysGo tells whether this program remains as the instance's first process.
func staysGo(p *plan.Plan) bool { return p.Serve || initProgram(0) == nil }

// stay is the instance's first process from now on: it waits for every
// orphan, and ends, and all others with it, when the function does.
func stay(p *plan.Plan, child int, id string) {
	if !staysGo(p) {
		becomeInit(child, id)
		// The kernel refused. This can't stay: its other threads have not
		// given up their privileges.
		exit(1)
	}
	ignoreSignals()
	if p.Serve {
		go serve()
	}
	var status unix.WaitStatus
	for {
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			exit(1)
		case pid == child:
			_, _ = unix.Write(plan.StatusFD, binary.NativeEndian.AppendUint32(nil, uint32(status)))
			exit(status.ExitStatus() & 0xff)
		}
	}
}

// ignoreSignals lets the function, whose user is the same, send what it likes.
// The kernel keeps from a pid namespace's first process only what has no
// handler, and Go's runtime has handlers for all.
func ignoreSignals() {
	for s := uintptr(1); s <= 64; s++ {
		if unix.Signal(s) != unix.SIGCHLD { // ignored, it would take the statuses away
			setAction(s, ignored)
		}
	}
}

// serve hands out sockets of this network namespace. Its listener is in a
// folder of the platform's, out of the function's reach.
func serve() {
	for {
		peer, _, err := unix.Accept4(plan.DialFD, unix.SOCK_CLOEXEC)
		if err != nil {
			if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EBADF) {
				return
			}
			continue
		}
		if s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err == nil {
			_ = unix.Sendmsg(peer, []byte{1}, unix.UnixRights(s), nil, unix.MSG_NOSIGNAL)
			shut(s)
		}
		shut(peer)
	}
}
