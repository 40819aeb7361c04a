// Command launcher is what the container driver starts for each instance: the
// first process of the instance's namespaces. It mounts what the function is
// to see, gives up every privilege, starts the function, and then makes way
// for a program of 150 bytes that waits for it (see init_amd64.go), or stays
// where the driver needs it inside.
//
// It is embedded into the platform's binary. It imports next to nothing, for
// an instance's start waits for its own, and knows only the plan it is given.
package main

import (
	"errors"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox/container/plan"
)

// What is changed here belongs to a thread: the first, which leads the process.
func init() { runtime.LockOSThread() }

func main() {
	text, err := readPlan()
	if err != nil {
		exit(plan.ProbeStatus)
	}
	id, root, ok := awaitGate()
	if !ok {
		exit(1) // the platform is gone
	}
	child, p, err := launch(text, root)
	if err != nil {
		answer(append([]byte{plan.Failed}, err.Error()...))
		exit(1)
	}
	answer([]byte{plan.Done})
	_ = unix.Close(plan.GateFD)
	_ = unix.Close(plan.PlanFD)
	stay(p, child, id)
}

// launch makes the instance and starts its function.
func launch(text []byte, root int) (child int, p *plan.Plan, err error) {
	if p, err = plan.Decode(text); err != nil {
		return 0, nil, err
	}
	for _, step := range []func() error{
		func() error { return hideGroups(p) },
		func() error { return enterRoot(p, root) },
		func() error { return settle(p) },
		func() error { return drop(p) },
	} {
		if err := step(); err != nil {
			return 0, nil, err
		}
	}
	child, err = start(p)
	return child, p, err
}

// readPlan returns the encoded plan. It does not move the file's position,
// which all instances of a revision share.
func readPlan() ([]byte, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(plan.PlanFD, &stat); err != nil {
		return nil, err
	}
	text := make([]byte, stat.Size)
	for at := 0; at < len(text); {
		n, err := unix.Pread(plan.PlanFD, text[at:], int64(at))
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, errors.New("short plan")
		}
		at += n
	}
	return text, nil
}

// awaitGate returns once the platform has put this process on record, with the
// instance's name and the mount that came along, or -1.
func awaitGate() (id string, root int, ok bool) {
	root = -1
	var b [plan.MaxID]byte
	rights := make([]byte, unix.CmsgSpace(4))
	for {
		n, size, _, _, err := unix.Recvmsg(plan.GateFD, b[:], rights, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return "", -1, false
		}
		messages, err := unix.ParseSocketControlMessage(rights[:size])
		if err == nil && len(messages) == 1 {
			if fds, err := unix.ParseUnixRights(&messages[0]); err == nil && len(fds) == 1 {
				root = fds[0]
			}
		}
		return string(b[:n]), root, true
	}
}

// answer tells the platform, which may be gone.
func answer(message []byte) {
	_ = unix.Sendto(plan.GateFD, message, unix.MSG_NOSIGNAL, nil)
}

func exit(status int) {
	unix.Exit(status)
}

// A failure is an error of one step, in words without the package fmt.
type failure struct {
	what string
	err  error
}

func (f *failure) Error() string { return f.what + ": " + f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return &failure{what, err}
}
