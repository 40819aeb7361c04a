package main

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/guest/linux/plan"
)

const (
	noSuid = unix.MS_NOSUID
	noDev  = unix.MS_NODEV
	noExec = unix.MS_NOEXEC
	frozen = unix.MS_RDONLY
)

// groups is where the guest's control groups are. The function does not see
// them.
const groups = "/unifaas/groups"

func itoa(n int) string { return strconv.Itoa(n) }

// mountFirst mounts what this process needs itself.
func (m *machine) mountFirst() error {
	if err := os.MkdirAll("/proc", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", noSuid|noDev|noExec, ""); err != nil {
		return fail("mount /proc", err)
	}
	var err error
	if m.random, err = openDevice("random", 8, unix.O_WRONLY); err != nil {
		return err
	}
	if m.log, err = openDevice("kmsg", 11, unix.O_RDONLY|unix.O_NONBLOCK); err != nil {
		return err
	}
	_, err = unix.Seek(m.log, 0, unix.SEEK_END)
	return fail("seek in the kernel's log", err)
}

// openDevice opens one of the kernel's memory devices, whose major number is 1,
// before there are others, and before the root changes.
func openDevice(name string, minor uint32, flags int) (int, error) {
	path := "/unifaas/" + name
	if err := makeDevice(path, 1, minor); err != nil {
		return -1, fail("make "+path, err)
	}
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	return fd, fail("open "+path, err)
}

func makeDevice(path string, major, minor uint32) error {
	return unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(major, minor)))
}

// enterRoot makes the function's root the root. Nothing of the initial file
// system can be reached from there but through this process.
func (m *machine) enterRoot() error {
	if err := m.mountRoot(); err != nil {
		return err
	}
	if err := m.makeGroup(); err != nil {
		return err
	}
	if err := os.Chdir(plan.Root); err != nil {
		return err
	}
	for _, mount := range []func() error{m.mountProc, m.mountSys, m.mountDev, m.mountTmp} {
		if err := mount(); err != nil {
			return err
		}
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fail("move the root", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fail("change the root", err)
	}
	return os.Chdir("/")
}

func (m *machine) mountRoot() error {
	if m.plan.Disk == "" {
		if err := unix.Mount(plan.Root, plan.Root, "", unix.MS_BIND, ""); err != nil {
			return fail("mount the root", err)
		}
		return fail("write-protect the root", unix.Mount("", plan.Root, "", unix.MS_BIND|unix.MS_REMOUNT|frozen|noSuid|noDev, ""))
	}
	if err := os.MkdirAll("/dev", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("devtmpfs", "/dev", "devtmpfs", noSuid|noExec, ""); err != nil {
		return fail("mount /dev", err)
	}
	if err := os.MkdirAll(plan.Root, 0o755); err != nil {
		return err
	}
	err := await(func() error { return unix.Mount("/dev/vda", plan.Root, m.plan.Disk, frozen|noSuid|noDev, "") })
	return fail("mount the disk with the root ("+m.plan.Disk+")", err)
}

func (m *machine) mountProc() error {
	// The function sees the processes that it could trace, which are its own:
	// not this one, nor the kernel's (4 is "ptraceable", which 2 is not for
	// those in group 0).
	if err := mountAt("proc", "proc", noSuid|noDev|noExec, "hidepid=4"); err != nil {
		return err
	}
	err := os.WriteFile("proc/sys/user/max_user_namespaces", []byte("0"), 0)
	if err != nil && !errors.Is(err, unix.ENOENT) { // a kernel without them
		return err
	}
	return m.protect("/proc/")
}

func (m *machine) mountSys() error {
	if err := mountAt("sysfs", "sys", noSuid|noDev|noExec|frozen, ""); err != nil {
		return err
	}
	return m.protect("/sys/")
}

func (m *machine) mountTmp() error {
	return mountAt("tmpfs", "tmp", noSuid|noDev, "mode=1777,size="+strconv.FormatInt(m.plan.Tmp, 10))
}

func mountAt(kind, at string, flags uintptr, options string) error {
	return fail("mount /"+at, unix.Mount(kind, at, kind, flags, options))
}

// protect masks and write-protects what is below prefix. What the kernel does
// not have needs no protection.
func (m *machine) protect(prefix string) error {
	for _, path := range m.plan.ReadOnly {
		if err := freeze(prefix, path); err != nil {
			return fail("write-protect "+path, err)
		}
	}
	for _, path := range m.plan.Masked {
		if err := mask(prefix, path); err != nil {
			return fail("mask "+path, err)
		}
	}
	return nil
}

func freeze(prefix, path string) error {
	if !strings.HasPrefix(path, prefix) {
		return nil
	}
	err := unix.Mount(path[1:], path[1:], "", unix.MS_BIND, "")
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	return unix.Mount("", path[1:], "", unix.MS_BIND|unix.MS_REMOUNT|frozen|noSuid|noDev|noExec, "")
}

// mask puts an empty folder over a folder, and an empty file over a file.
func mask(prefix, path string) error {
	if !strings.HasPrefix(path, prefix) {
		return nil
	}
	var info unix.Stat_t
	err := unix.Lstat(path[1:], &info)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.Mount("tmpfs", path[1:], "tmpfs", frozen|noSuid|noDev|noExec, "mode=555,nr_blocks=1,nr_inodes=1")
	}
	const empty = "/unifaas/empty"
	fd, err := unix.Open(empty, unix.O_CREAT|unix.O_RDONLY|unix.O_CLOEXEC, 0o444)
	if err != nil {
		return err
	}
	_ = unix.Close(fd)
	if err := unix.Mount(empty, path[1:], "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return unix.Mount("", path[1:], "", unix.MS_BIND|unix.MS_REMOUNT|frozen|noSuid|noDev|noExec, "")
}

// nodes are the devices of a function: those that the OCI runtime
// specification demands (config-linux.md, default devices) but the console.
var nodes = []struct {
	name         string
	major, minor uint32
}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}}

var links = []struct{ name, target string }{
	{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
	{"ptmx", "pts/ptmx"},
}

// mountDev makes a /dev of the function's own.
func (m *machine) mountDev() error {
	if err := mountAt("tmpfs", "dev", noSuid|noExec, "mode=755,size=64k"); err != nil {
		return err
	}
	for _, n := range nodes {
		if err := makeDevice("dev/"+n.name, n.major, n.minor); err != nil {
			return fail("make /dev/"+n.name, err)
		}
		if err := unix.Chmod("dev/"+n.name, 0o666); err != nil { // whatever the umask
			return err
		}
	}
	for _, l := range links {
		if err := unix.Symlink(l.target, "dev/"+l.name); err != nil {
			return fail("make /dev/"+l.name, err)
		}
	}
	for _, name := range []string{"dev/pts", "dev/shm"} {
		if err := unix.Mkdir(name, 0o755); err != nil {
			return fail("make /"+name, err)
		}
	}
	if err := mountAt("devpts", "dev/pts", noSuid|noExec, "ptmxmode=666,mode=620"); err != nil {
		return err
	}
	if err := mountAt("tmpfs", "dev/shm", noSuid|noDev|noExec, "mode=1777,size="+strconv.FormatInt(m.plan.Shm, 10)); err != nil {
		return err
	}
	return fail("write-protect /dev", unix.Mount("", "dev", "", unix.MS_BIND|unix.MS_REMOUNT|frozen|noSuid|noExec, ""))
}

// makeGroup makes the control group that bounds the function's processes: the
// kernel exempts root from the limit of setrlimit(2).
func (m *machine) makeGroup() error {
	if m.plan.Pids == 0 {
		return nil
	}
	if err := unix.Mkdir(groups, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("cgroup2", groups, "cgroup2", noSuid|noDev|noExec, ""); err != nil {
		return fail("mount control groups", err)
	}
	if err := os.WriteFile(groups+"/cgroup.subtree_control", []byte("+pids"), 0); err != nil {
		return err
	}
	if err := unix.Mkdir(groups+"/function", 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(groups+"/function/pids.max", []byte(itoa(m.plan.Pids)), 0); err != nil {
		return err
	}
	group, err := unix.Open(groups+"/function", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	m.group = group
	return err
}
