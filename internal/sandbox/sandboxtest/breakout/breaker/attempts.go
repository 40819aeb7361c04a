package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attempts return nil when they have worked, which none may, and else the error
// that came of it; see held.
var attempts = map[string]func() error{
	"mount":         func() error { return unix.Mount("none", "/tmp", "tmpfs", 0, "") },
	"bind mount":    func() error { return unix.Mount("/", "/tmp", "", unix.MS_BIND, "") },
	"remount":       func() error { return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, "") },
	"umount /proc":  func() error { return unix.Unmount("/proc", unix.MNT_DETACH) },
	"umount mask":   func() error { return unix.Unmount("/proc/kcore", unix.MNT_DETACH) },
	"fsopen":        func() error { return call(unix.SYS_FSOPEN, text("tmpfs"), 0) },
	"open_tree":     func() error { return call(unix.SYS_OPEN_TREE, at, text("/"), unix.OPEN_TREE_CLONE) },
	"mount_setattr": func() error { return unix.MountSetattr(unix.AT_FDCWD, "/", 0, &unix.MountAttr{}) },
	"pivot_root":    func() error { return unix.PivotRoot("/", "/tmp") },
	"chroot":        func() error { return unix.Chroot("/tmp") },
	"unshare user":  func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
	"unshare mount": func() error { return unix.Unshare(unix.CLONE_NEWNS) },
	"clone user":    func() error { return cloned(unix.CLONE_NEWUSER) },
	"clone network": func() error { return cloned(unix.CLONE_NEWNET) },
	"clone3":        func() error { return call(unix.SYS_CLONE3, 0, 0) },
	"setns":         setns,
	"sethostname":   func() error { return unix.Sethostname([]byte("broken")) },
	"ptrace init":   func() error { return unix.PtraceAttach(1) },
	"ptrace host":   func() error { return onHost(unix.PtraceAttach) },
	"read host":     func() error { return onHost(readMemory) },
	"signal host":   func() error { return onHost(func(pid int) error { return unix.Kill(pid, 0) }) },
	"pidfd of host": func() error { return onHost(func(pid int) error { _, err := unix.PidfdOpen(pid, 0); return err }) },
	"read init":     func() error { return readMemory(1) },
	"kill init":     killInit,
	"add_key": func() error {
		_, err := unix.AddKey("user", "k", []byte("v"), unix.KEY_SPEC_PROCESS_KEYRING)
		return err
	},
	"keyctl":      func() error { _, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false); return err },
	"request_key": func() error { _, err := unix.RequestKey("user", "k", "", unix.KEY_SPEC_PROCESS_KEYRING); return err },
	"bpf":         func() error { return call(unix.SYS_BPF, 0, 0, 0) },
	"another's keyring": func() error {
		_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_USER_KEYRING, true)
		return err
	},
	"perf_event": func() error {
		_, err := unix.PerfEventOpen(&unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE}, 0, -1, -1, 0)
		return err
	},
	"io_uring":      func() error { var p [128]byte; return call(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p))) },
	"userfaultfd":   func() error { return call(unix.SYS_USERFAULTFD, 0) },
	"handle":        func() error { return call(unix.SYS_OPEN_BY_HANDLE_AT, at, 0, 0) },
	"load module":   func() error { return unix.InitModule([]byte("x"), "") },
	"unload module": func() error { return unix.DeleteModule("ext4", 0) },
	"kexec":         func() error { return call(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0) },
	"reboot":        func() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) },
	"swapon":        func() error { return call(unix.SYS_SWAPON, text("/tmp/x"), 0) },
	"acct":          func() error { return unix.Acct("/tmp/x") },
	"quotactl":      func() error { return call(unix.SYS_QUOTACTL, 0, 0, 0, 0) },
	"syslog":        func() error { _, err := unix.Klogctl(3, make([]byte, 100)); return err },
	"settimeofday":  func() error { return unix.Settimeofday(&unix.Timeval{Sec: 1}) },
	"clock_settime": func() error { return unix.ClockSettime(unix.CLOCK_REALTIME, &unix.Timespec{Sec: 1}) },
	"adjtimex":      func() error { _, err := unix.Adjtimex(&unix.Timex{Modes: 1}); return err },
	"personality":   func() error { return call(unix.SYS_PERSONALITY, 0x0040000) },
	"priority":      func() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -20) },
	"real time": func() error {
		p := int32(1)
		return call(unix.SYS_SCHED_SETSCHEDULER, 0, 1, uintptr(unsafe.Pointer(&p)))
	},
	"more files":     func() error { return raise(unix.RLIMIT_NOFILE) },
	"more processes": func() error { return raise(unix.RLIMIT_NPROC) },
	"core dumps":     func() error { return raise(unix.RLIMIT_CORE) },
	"raw socket":     func() error { return socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP) },
	"packet socket":  func() error { return socket(unix.AF_PACKET, unix.SOCK_RAW, 0) },
	"vsock":          func() error { return socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0) },
	"kernel crypto":  func() error { return socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0) },
	"interface":      interfaceDown,
	"disk node":      func() error { return unix.Mknod("/tmp/disk", unix.S_IFBLK|0o666, int(unix.Mkdev(254, 0))) },
	"memory node":    func() error { return unix.Mknod("/tmp/mem", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 1))) },
	"setuid 0":       becomeRoot,
	"another user":   func() error { return become(4242) },
	"another group":  func() error { return unix.Setgroups([]int{0}) },
	"setuid program": setuidProgram,
	"capability": func() error {
		return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_NET_RAW, 0, 0)
	},
	"new privileges": newPrivileges,
	"oom score":      func() error { return os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0) },
	"child's root":   childOfRoot,
}

var at = func() uintptr { fd := unix.AT_FDCWD; return uintptr(fd) }()

func text(s string) uintptr {
	b, err := unix.BytePtrFromString(s)
	if err != nil {
		panic(err)
	}
	return uintptr(unsafe.Pointer(b))
}

// call makes a system call. What it returns beside an error does not matter.
func call(number uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	if _, _, errno := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return errno
	}
	return nil
}

func socket(domain, kind, protocol int) error {
	_, err := unix.Socket(domain, kind, protocol)
	return err
}

func raise(resource int) error {
	return unix.Setrlimit(resource, &unix.Rlimit{Cur: 1 << 30, Max: 1 << 30})
}

func cloned(flags uintptr) error {
	cmd := exec.Command("/proc/self/exe", "nothing")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	return cmd.Start()
}

// setns tries its own namespaces: to enter those again takes privileges, too.
func setns() error {
	for _, name := range []string{"net", "mnt", "pid", "user", "uts", "ipc"} {
		f, err := os.Open("/proc/self/ns/" + name)
		if err != nil {
			continue
		}
		if err := unix.Setns(int(f.Fd()), 0); err == nil {
			return nil
		}
	}
	return unix.EPERM
}

func readMemory(pid int) error {
	b := make([]byte, 16)
	local := []unix.Iovec{{Base: &b[0], Len: 16}}
	_, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: 0x400000, Len: 16}}, 0)
	return err
}

// hostEnv names the variable with the number of a process that is not one of
// the instance's.
const hostEnv = "BREAKER_HOST"

// onHost does something to a process of the host's. That there is none, inside,
// is as good as being refused.
func onHost(do func(pid int) error) error {
	pid, err := strconv.Atoi(os.Getenv(hostEnv))
	if err != nil || pid == 0 {
		return errors.New("no process to try it on")
	}
	if err := do(pid); !errors.Is(err, unix.ESRCH) {
		return err
	}
	return errors.New("it is not there")
}

// killInit may be told that it has worked: a pid namespace's first process
// does not get what it does not handle.
func killInit() error {
	for _, s := range []unix.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGSTOP} {
		_ = unix.Kill(1, s)
	}
	stat, err := os.ReadFile("/proc/1/stat")
	if err != nil || !strings.Contains(string(stat), ") T ") {
		return errors.New("it is still there")
	}
	return nil
}

// newPrivileges tries to take no_new_privs back, for which there is no call.
func newPrivileges() error {
	_ = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err != nil || set != 1 {
		return err
	}
	return errors.New("it is still set")
}

func interfaceDown() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	return call(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(request)))
}

// becomeRoot: user 0 is one of an image's, and has no more power than others.
func becomeRoot() error {
	if os.Getuid() == 0 {
		return become(1)
	}
	return become(0)
}

// become changes the user. EINVAL is for a number that is not mapped to any
// user (user_namespaces(7)).
func become(user int) error {
	err := unix.Setresuid(user, user, user)
	if errors.Is(err, unix.EINVAL) {
		return errors.New("there is no such user")
	}
	return err
}

// setuidProgram runs a program of the image that belongs to user 0 and has the
// set-user-ID bit. For user 0 it is told by the capabilities it has.
func setuidProgram() error {
	out, err := exec.Command("/setuid", "whoami").CombinedOutput()
	if err != nil {
		return err
	}
	if got, want := string(out), who(); got != want {
		return nil
	}
	return errors.New("it has changed nothing")
}

func who() string {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err.Error()
	}
	var lines []string
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "Uid:") || strings.HasPrefix(line, "Gid:") || strings.HasPrefix(line, "Cap") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// childOfRoot looks for a way out of the root by its parent folders.
func childOfRoot() error {
	if err := os.Chdir(strings.Repeat("../", 50)); err != nil {
		return err
	}
	if _, err := os.Stat("breaker"); err == nil {
		return fmt.Errorf("the parent of / is /")
	}
	return nil
}
