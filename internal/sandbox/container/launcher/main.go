// Command launcher makes the first processes of the container driver's
// instances. The driver starts it once and keeps it; for each instance it gets
// a request, forks, and the child carries out the script that came along
// (package script): a fork of this small program, nothing to execute, and no
// runtime to start.
//
// A child is the platform's, not the launcher's (CLONE_PARENT), which then has
// no part in it any more. The launcher ends with the platform.
//
// It is embedded into the platform's binary, and knows nothing of what scripts
// do.
package main

import (
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox/container/script"
)

// Children are copies of this thread.
func init() { runtime.LockOSThread() }

func main() {
	if _, err := unix.GetsockoptInt(script.RequestFD, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		unix.Exit(script.ProbeStatus)
	}
	settle()
	for {
		if !receive() {
			unix.Exit(0) // the platform is gone
		}
		pid, errno := spawn(&request, &files)
		for i := range files.n {
			_ = unix.Close(int(files.fd[i]))
		}
		reply := script.Reply{Pid: uint32(pid), Errno: uint32(errno)}
		_, _, _ = unix.Syscall6(unix.SYS_SENDTO, script.RequestFD, uintptr(unsafe.Pointer(&reply)), uintptr(script.ReplySize), unix.MSG_NOSIGNAL, 0, 0)
	}
}

// settle prepares what children inherit.
func settle() {
	// Blocked for good: a child must not run a handler of Go's runtime.
	all := ^uint64(0)
	_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), 0, 8, 0, 0)
	restoreSignals()
	if len(os.Args) > 1 {
		title = uintptr(unsafe.Pointer(unsafe.StringData(os.Args[1])))
		clear(unsafe.Slice(unsafe.StringData(os.Args[1]), len(os.Args[1])))
	}
	// A child's descriptors up to here are given new meanings, so that nothing
	// else may have such a number.
	for {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil || fd >= script.MaxFiles {
			_ = unix.Close(fd)
			return
		}
	}
}

const (
	byDefault, ignored = 0, 1 // SIG_DFL, SIG_IGN
	signalSet          = 8    // bytes of the kernel's sigset_t
)

// An action is the kernel's struct sigaction, which begins with the handler
// and has no more than this on any architecture.
type action [8]uint64

// restoreSignals gives the signals that the platform was started to ignore
// back their meaning: that is inherited by programs where a handler is not.
func restoreSignals() {
	for s := uintptr(1); s <= 64; s++ {
		var now action
		_, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, s, 0, uintptr(unsafe.Pointer(&now)), signalSet, 0, 0)
		if errno == 0 && now[0] == ignored {
			next := action{byDefault}
			_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGACTION, s, uintptr(unsafe.Pointer(&next)), 0, signalSet, 0, 0)
		}
	}
}

// A handful is the files of a request.
type handful struct {
	fd [script.MaxFiles]int32
	n  int
}

// What a request is received into. Nothing is allocated in the loop: there is
// no need of a collector (see the driver's launcherEnv).
var (
	request script.Request
	files   handful
	part    = unix.Iovec{Base: (*byte)(unsafe.Pointer(&request))}
	message = unix.Msghdr{Iov: &part, Iovlen: 1, Control: (*byte)(unsafe.Pointer(&control))}
	control struct {
		unix.Cmsghdr
		fd [script.MaxFiles]int32
	}
)

// receive waits for a request.
func receive() bool {
	part.SetLen(script.RequestSize)
	message.SetControllen(int(unsafe.Sizeof(control)))
	n, _, errno := unix.Syscall(unix.SYS_RECVMSG, script.RequestFD, uintptr(unsafe.Pointer(&message)), unix.MSG_CMSG_CLOEXEC)
	if errno != 0 || int(n) != script.RequestSize || message.Flags&unix.MSG_CTRUNC != 0 || control.Type != unix.SCM_RIGHTS {
		return false
	}
	files.fd = control.fd
	files.n = (int(control.Len) - unix.SizeofCmsghdr) / 4
	return true
}
