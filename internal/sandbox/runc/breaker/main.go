// Command breaker runs in a container of the runc driver's tests, as its first
// process, and tries what must not work there. It serves what came of it,
// attempt by attempt, as a JSON object: the error's words, or "" for what
// worked. Each attempt spares the process itself.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "whoami" {
		fmt.Print(os.Geteuid())
		return
	}
	user := os.Getuid()
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		results := map[string]string{}
		for name, attempt := range attempts(user) {
			results[name] = ""
			if err := attempt(); err != nil {
				results[name] = err.Error()
			}
		}
		_ = json.NewEncoder(w).Encode(results)
	})
	fmt.Println(http.ListenAndServe(":8080", nil))
	os.Exit(1)
}

// attempts return nil when they have worked, which none may.
func attempts(user int) map[string]func() error {
	all := map[string]func() error{
		"mount":         func() error { return unix.Mount("none", "/tmp", "tmpfs", 0, "") },
		"bind mount":    func() error { return unix.Mount("/", "/tmp", "", unix.MS_BIND, "") },
		"remount":       func() error { return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, "") },
		"unmask":        func() error { return unix.Unmount("/proc/kcore", unix.MNT_DETACH) },
		"fsopen":        func() error { return call(unix.SYS_FSOPEN, text("tmpfs"), 0) },
		"pivot_root":    func() error { return unix.PivotRoot("/", "/tmp") },
		"chroot":        func() error { return unix.Chroot("/tmp") },
		"unshare user":  func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
		"unshare mount": func() error { return unix.Unshare(unix.CLONE_NEWNS) },
		"clone user":    func() error { return cloned(unix.CLONE_NEWUSER) },
		"clone3":        func() error { return call(unix.SYS_CLONE3, 0, 0) },
		"setns":         func() error { return setns("/proc/self/ns/net") },
		"sethostname":   func() error { return unix.Sethostname([]byte("broken")) },
		"keyctl":        func() error { return call(unix.SYS_KEYCTL, 0, ^uintptr(2), 0) },
		"add_key":       func() error { return call(unix.SYS_ADD_KEY, text("user"), text("k"), text("v"), 1, ^uintptr(1)) },
		"bpf":           func() error { return call(unix.SYS_BPF, 0, 0, 0) },
		"perf_event":    func() error { return call(unix.SYS_PERF_EVENT_OPEN, 0, 0, 0, 0, 0) },
		"io_uring":      func() error { var p [128]byte; return call(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p))) },
		"userfaultfd":   func() error { return call(unix.SYS_USERFAULTFD, 0) },
		"open by handle": func() error {
			return call(unix.SYS_OPEN_BY_HANDLE_AT, ^uintptr(99), 0, 0)
		},
		"load module":    func() error { return unix.InitModule([]byte("x"), "") },
		"kexec":          func() error { return call(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0) },
		"reboot":         func() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) },
		"syslog":         func() error { _, err := unix.Klogctl(3, make([]byte, 100)); return err },
		"set the clock":  func() error { return unix.Settimeofday(&unix.Timeval{Sec: 1}) },
		"raw socket":     func() error { return socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP) },
		"packet socket":  func() error { return socket(unix.AF_PACKET, unix.SOCK_RAW, 0) },
		"vsock":          func() error { return socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0) },
		"device node":    func() error { return unix.Mknod("/tmp/disk", unix.S_IFBLK|0o600, int(unix.Mkdev(8, 0))) },
		"memory device":  func() error { return unix.Mknod("/tmp/mem", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 1))) },
		"another user":   func() error { return unix.Setresuid(4242, 4242, 4242) },
		"setuid binary":  func() error { return setuid(user) },
		"change owner":   func() error { return os.Chown("/breaker", 1, 1) },
		"change mode":    func() error { return os.Chmod("/breaker", 0o777) },
		"rename":         func() error { return os.Rename("/breaker", "/tmp/breaker") },
		"open host fd":   hostDescriptor,
		"see a process":  func() error { _, err := os.Stat("/proc/2/root/../../etc/shadow"); return err },
		"masked kcore":   func() error { return readable("/proc/kcore") },
		"masked keys":    func() error { return readable("/proc/keys") },
		"masked folder":  func() error { return listed("/sys/firmware") },
		"control groups": func() error { return listed("/sys/fs/cgroup") },
	}
	for _, path := range []string{
		"/breaker", "/proc/self/exe", "/etc/new", "/new", "/sys/new", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname",
		"/proc/sys/vm/drop_caches", "/proc/sysrq-trigger", "/proc/irq/0/smp_affinity", "/sys/kernel/uevent_helper", "/sys/power/state",
		"/dev/mem", "/dev/kmsg", "/dev/sda",
	} {
		all["write "+path] = func() error { return writable(path) }
	}
	return all
}

func call(number uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	// Without the right arguments the kernel says EFAULT or EINVAL once it has
	// let the call in: that is a way in as well.
	_, _, errno := syscall.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno == unix.EPERM || errno == unix.ENOSYS || errno == unix.EACCES {
		return errno
	}
	return nil
}

func text(s string) uintptr {
	b := append([]byte(s), 0)
	return uintptr(unsafe.Pointer(&b[0]))
}

// cloned starts this program in namespaces of its own.
func cloned(flags uintptr) error {
	cmd := exec.Command("/proc/self/exe", "whoami")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	return cmd.Run()
}

func setns(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Setns(int(f.Fd()), 0)
}

func socket(domain, kind, protocol int) error {
	fd, err := unix.Socket(domain, kind, protocol)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

// setuid executes a file of root's with the set-user-id bit.
func setuid(user int) error {
	out, err := exec.Command("/setuid", "whoami").CombinedOutput()
	if err == nil && (user == 0 || strings.TrimSpace(string(out)) != "0") {
		return errors.New("it changed nothing")
	}
	return err
}

// hostDescriptor looks for files of the runtime's or the platform's among
// those that are open.
func hostDescriptor() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && strings.HasPrefix(target, "/") && target != "/dev/null" && !strings.HasPrefix(target, "/proc/") && !strings.HasPrefix(target, "/sys/kernel/mm") {
			return nil
		}
	}
	return errors.New("none is open")
}

// readable wants more than the empty file that a mask is.
func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Read(make([]byte, 16))
	return err
}

func listed(path string) error {
	entries, err := os.ReadDir(path)
	if err == nil && len(entries) == 0 {
		return errors.New("it is empty")
	}
	return err
}

// writable makes the file where it is missing, but for devices: /dev is the
// container's own small file system, in which a file is only a file.
func writable(path string) error {
	flags := os.O_WRONLY
	if !strings.HasPrefix(path, "/dev/") {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err == nil {
		_ = f.Close()
	}
	return err
}
