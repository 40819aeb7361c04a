package main

import (
	"errors"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox/container/plan"
)

// hideGroups makes this process's control group look like the root of all.
func hideGroups(*plan.Plan) error {
	return wrap("make cgroup namespace", unix.Unshare(unix.CLONE_NEWCGROUP))
}

// settle sets what needs privileges and is no file.
func settle(p *plan.Plan) error {
	if err := unix.Sethostname([]byte(p.Hostname)); err != nil {
		return wrap("set host name", err)
	}
	if err := raiseLoopback(); err != nil {
		return wrap("raise loopback device", err)
	}
	// The platform's keys are not the function's. A kernel without keys says
	// ENOSYS, one whose user has too many EDQUOT; then it keeps none either way.
	_, _, _ = unix.RawSyscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0)
	for _, l := range p.Limits {
		if err := limit(l); err != nil {
			return wrap("set resource limit "+decimal(int64(l.Resource)), err)
		}
	}
	unix.Umask(0o022)
	return nil
}

// limit sets a resource limit, as far as the one in force allows.
func limit(l plan.Limit) error {
	var now unix.Rlimit
	if err := unix.Prlimit(0, int(l.Resource), nil, &now); err != nil {
		return err
	}
	hard := min(l.Hard, now.Max)
	return unix.Prlimit(0, int(l.Resource), &unix.Rlimit{Cur: min(l.Soft, hard), Max: hard}, nil)
}

func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer shut(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(request))); errno != 0 {
		return errno
	}
	return nil
}

// A system call of all threads, or of this one where the others end soon.
type caller func(trap, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, err syscall.Errno)

func callerFor(p *plan.Plan) caller {
	if staysGo(p) {
		return syscall.AllThreadsSyscall6
	}
	return syscall.RawSyscall6
}

// drop gives up every privilege: capabilities, user, groups, the power to gain
// any, and the system calls that the filter forbids.
func drop(p *plan.Plan) error {
	call := callerFor(p)
	do := func(trap uintptr, args ...uintptr) error {
		var a [6]uintptr
		copy(a[:], args)
		if _, _, errno := call(trap, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
			return errno
		}
		return nil
	}
	if err := dropBounding(do); err != nil {
		return wrap("empty the bounding set", err)
	}
	if p.Groups {
		if err := do(unix.SYS_SETGROUPS, 0, 0); err != nil {
			return wrap("give up groups", err)
		}
	}
	gid, uid := uintptr(p.GID), uintptr(p.UID)
	if err := do(unix.SYS_SETRESGID, gid, gid, gid); err != nil {
		return wrap("become group "+decimal(int64(p.GID)), err)
	}
	if err := do(unix.SYS_SETRESUID, uid, uid, uid); err != nil {
		return wrap("become user "+decimal(int64(p.UID)), err)
	}
	if err := dropCapabilities(do); err != nil {
		return wrap("give up capabilities", err)
	}
	// Seen by the function, this process must not be open to it.
	if err := do(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0); err != nil {
		return wrap("hide the launcher", err)
	}
	if err := enterDir(p); err != nil {
		return err
	}
	if err := do(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return wrap("give up new privileges", err)
	}
	return wrap("install the system call filter", filter(p))
}

func dropBounding(do func(uintptr, ...uintptr) error) error {
	for c := uintptr(0); ; c++ {
		err := do(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c)
		if errors.Is(err, unix.EINVAL) && c > unix.CAP_SETFCAP {
			return nil // the kernel has no more
		}
		if err != nil {
			return err
		}
	}
}

func dropCapabilities(do func(uintptr, ...uintptr) error) error {
	if err := do(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	err := do(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])))
	runtime.KeepAlive(&header)
	runtime.KeepAlive(&none)
	return err
}

// enterDir enters the working folder as the function's user. The root is the
// image's by now and no descriptor leads out of it.
func enterDir(p *plan.Plan) error {
	return wrap("enter working folder "+p.Dir, unix.Chdir(p.Dir))
}

// filter installs the system call filter, for all threads.
func filter(p *plan.Plan) error {
	program := unix.SockFprog{
		Len:    uint16(len(p.Filter) / 8),
		Filter: (*unix.SockFilter)(unsafe.Pointer(unsafe.SliceData(p.Filter))),
	}
	flags := uintptr(0)
	if staysGo(p) {
		flags = unix.SECCOMP_FILTER_FLAG_TSYNC
	}
	r, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(p)
	if errno != 0 {
		return errno
	}
	if r != 0 {
		return errors.New("a thread has another filter")
	}
	return nil
}
