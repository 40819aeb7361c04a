package main

import (
	"errors"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox/container/plan"
)

// start starts the function as a child. It has this process's privileges,
// which are none, and its standard files alone.
func start(p *plan.Plan) (pid int, err error) {
	if err := unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return 0, wrap("keep files from the function", err)
	}
	restoreSignals()
	path, err := find(p)
	if err == nil {
		pid, err = syscall.ForkExec(path, p.Argv, &syscall.ProcAttr{
			Env: p.Env, Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setsid: true},
		})
	}
	if errors.Is(err, unix.ENOENT) && path != "" && unix.Access(path, unix.F_OK) == nil {
		err = errors.New("its interpreter or dynamic loader is not in the image")
	}
	return pid, wrap("execute "+p.Argv[0], err)
}

// find returns the path of the program: a name without a slash is looked for
// in the folders of the function's PATH.
func find(p *plan.Plan) (string, error) {
	name := p.Argv[0]
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, kv := range p.Env {
		list, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range strings.Split(list, ":") {
			if path := dir + "/" + name; strings.HasPrefix(dir, "/") && unix.Access(path, unix.X_OK) == nil {
				return path, nil
			}
		}
	}
	return "", errors.New("not found in PATH")
}

const (
	byDefault, ignored = 0, 1 // SIG_DFL, SIG_IGN
	signalSet          = 8    // bytes of the kernel's sigset_t
)

// An action is the kernel's struct sigaction, which begins with the handler
// and has no more than this on any architecture.
type action [8]uint64

// restoreSignals gives the signals that the platform was started to ignore
// back their meaning: that is inherited where a handler is not.
func restoreSignals() {
	for s := uintptr(1); s <= 64; s++ {
		var now action
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, s, 0, uintptr(unsafe.Pointer(&now)), signalSet, 0, 0)
		if errno == 0 && now[0] == ignored {
			setAction(s, byDefault)
		}
	}
}

// setAction says what a signal does. The kernel refuses it for some.
func setAction(signal uintptr, handler uint64) {
	next := action{handler}
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, signal, uintptr(unsafe.Pointer(&next)), 0, signalSet, 0, 0)
}
