package setup

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox/container/script"
)

// hideGroups makes this process's control group look like the root of all.
func (w *writer) hideGroups() {
	w.Step("make cgroup namespace")
	w.Call(unix.SYS_UNSHARE, script.Number(unix.CLONE_NEWCGROUP))
}

// enterRoot makes the function's root and leaves the host's for good. Every
// path of the image is looked up below its root and never through a link:
// what the image has in the place of a mount point can't lead elsewhere.
func (w *writer) enterRoot() {
	w.mountRoot()
	w.mountProc()
	w.mountSys()
	w.mountDev()
	w.mount(r2, rRoot, "tmpfs", "tmp", noSuid|noDev, "mode", "1777", "size", decimal(w.Tmp))

	w.Step("enter root")
	w.Call(unix.SYS_FCHDIR, script.Reg(rRoot))
	// Old and new root in one place: the old one comes to lie on top.
	dot := w.String(".").Arg()
	w.Step("pivot root")
	w.Call(unix.SYS_PIVOT_ROOT, dot, dot)
	w.Step("leave the host's root")
	w.Call(unix.SYS_UMOUNT2, dot, script.Number(unix.MNT_DETACH))
	w.Call(unix.SYS_CHDIR, w.String("/").Arg())
	w.Step("let go of the host's files")
	free := script.DialFD
	if w.Serve {
		free++
	}
	w.Call(unix.SYS_CLOSE_RANGE, script.Number(free), number(1<<32-1), number(0))
	// Its input is the launcher's: a file that all instances have open tells
	// each what another does with its flags and locks. 0 is the lowest number.
	w.Step("open /dev/null")
	w.Call(unix.SYS_CLOSE, number(0))
	w.Call(unix.SYS_OPENAT, number(here), w.String("/dev/null").Arg(), script.Number(unix.O_RDWR))
}

// mountRoot attaches the image, read-only, on top of the host's root, the one
// folder that is sure to be there.
func (w *writer) mountRoot() {
	if !w.Root {
		w.Step("open root file system")
		w.clone(rRoot, number(here), w.Rootfs, 0)
		w.Step("protect root file system")
		w.restrict(rRoot, 0, frozen|noSuid|noDev)
	}
	w.Step("mount root file system")
	w.Call(unix.SYS_MOVE_MOUNT, script.Reg(rRoot), w.String("").Arg(), number(here), w.String("/").Arg(),
		script.Number(unix.MOVE_MOUNT_F_EMPTY_PATH))
}

func (w *writer) mountProc() {
	w.mount(r2, rRoot, "proc", "proc", noSuid|noDev|noExec)
	w.forbidNamespaces(r2)
	w.openPorts(r2)
	w.protect("/proc/")
}

// forbidNamespaces keeps the instance from making user namespaces, beside the
// system call filter that does so, too.
func (w *writer) forbidNamespaces(proc uint8) {
	w.Step("limit user namespaces")
	w.writeSetting(proc, "sys/user/max_user_namespaces", "0")
}

// openPorts lets the function listen on every port of its network namespace: a
// web server's image says 80, and a function has no capability to ask for it.
func (w *writer) openPorts(proc uint8) {
	w.Step("open the ports below 1024")
	w.writeSetting(proc, "sys/net/ipv4/ip_unprivileged_port_start", "0")
}

// writeSetting writes a file below /proc/sys, unless the kernel has none of
// that name.
func (w *writer) writeSetting(proc uint8, file, value string) {
	without := w.Label()
	w.CallTo(r0, unix.SYS_OPENAT, script.Reg(proc), w.String(file).Arg(),
		script.Number(unix.O_WRONLY|unix.O_CLOEXEC), number(0))
	w.Catch(uint32(unix.ENOENT), without)
	w.Call(unix.SYS_WRITE, script.Reg(r0), w.String(value).Arg(), script.Number(len(value)))
	w.Call(unix.SYS_CLOSE, script.Reg(r0))
	w.Put(without)
}

func (w *writer) mountSys() {
	w.mount(r2, rRoot, "sysfs", "sys", noSuid|noDev|noExec|frozen)
	if w.Cgroup {
		w.mount(r2, rRoot, "cgroup2", "sys/fs/cgroup", noSuid|noDev|noExec|frozen)
	}
	w.protect("/sys/")
}

// protect masks and write-protects the plan's paths that begin with prefix.
// What the kernel does not have needs no protection.
func (w *writer) protect(prefix string) {
	for _, path := range w.ReadOnly {
		if strings.HasPrefix(path, prefix) {
			w.Step("write-protect " + path)
			w.freeze(path[1:])
		}
	}
	for _, path := range w.Masked {
		if strings.HasPrefix(path, prefix) {
			w.Step("mask " + path)
			w.mask(path[1:])
		}
	}
}

func (w *writer) freeze(path string) {
	missing := w.Label()
	w.lookUp(rTarget, rRoot, path, 0)
	w.Catch(uint32(unix.ENOENT), missing)
	w.clone(r0, script.Reg(rTarget), "", unix.AT_RECURSIVE)
	w.restrict(r0, unix.AT_RECURSIVE, frozen|noSuid|noDev|noExec)
	w.attach(r0)
	w.Put(missing)
}

// mask puts an empty folder over a folder, and the null device over a file.
// The first such folder is copied for the others.
func (w *writer) mask(path string) {
	file, first, cover, done := w.Label(), w.Label(), w.Label(), w.Label()
	w.lookUp(rTarget, rRoot, path, 0)
	w.Catch(uint32(unix.ENOENT), done)
	w.lookUp(r2, rRoot, path, unix.O_DIRECTORY)
	w.Catch(uint32(unix.ENOTDIR), file)
	w.JumpIf(script.Reg(rEmpty), number(0), first)
	w.clone(r0, script.Reg(rEmpty), "", 0)
	w.Jump(cover)

	w.Put(first)
	w.create(rEmpty, "tmpfs", frozen|noSuid|noDev|noExec, "mode", "555", "nr_blocks", "1", "nr_inodes", "1")
	w.attach(rEmpty)
	w.Jump(done)

	w.Put(file)
	w.clone(r0, number(here), "/dev/null", 0)
	w.restrict(r0, 0, frozen|noSuid|noExec)
	w.Put(cover)
	w.attach(r0)
	w.Put(done)
}

// nodes are the devices of a function: those that the OCI runtime
// specification demands (config-linux.md, default devices) but the console.
var nodes = []string{"null", "zero", "full", "random", "urandom", "tty"}

var links = []struct{ name, target string }{
	{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
	{"ptmx", "pts/ptmx"},
}

// mountDev makes a /dev of its own. In a user namespace devices can't be
// made, so that they are mounts of the host's.
func (w *writer) mountDev() {
	w.mount(rDev, rRoot, "tmpfs", "dev", noSuid|noExec, "mode", "755", "size", "64k")
	for _, name := range nodes {
		w.Step("make /dev/" + name)
		w.addNode(name)
	}
	for _, l := range links {
		w.Step("make /dev/" + l.name)
		w.Call(unix.SYS_SYMLINKAT, w.String(l.target).Arg(), script.Reg(rDev), w.String(l.name).Arg())
	}
	for _, name := range []string{"pts", "shm"} {
		w.Step("make /dev/" + name)
		w.Call(unix.SYS_MKDIRAT, script.Reg(rDev), w.String(name).Arg(), number(0o755))
	}
	w.mount(r2, rDev, "devpts", "pts", noSuid|noExec, "ptmxmode", "666", "mode", "620")
	w.mount(r2, rDev, "tmpfs", "shm", noSuid|noDev|noExec, "mode", "1777", "size", decimal(w.Shm))
	w.Step("write-protect /dev")
	w.restrict(rDev, 0, frozen)
}

func (w *writer) addNode(name string) {
	at := w.String(name).Arg()
	w.Call(unix.SYS_OPENAT, script.Reg(rDev), at, script.Number(unix.O_CREAT|unix.O_EXCL|unix.O_RDONLY|unix.O_CLOEXEC), number(0o666))
	w.clone(r0, number(here), "/dev/"+name, 0)
	// A device can be written to on a mount that is write-protected.
	w.restrict(r0, 0, frozen|noSuid|noExec)
	w.Call(unix.SYS_MOVE_MOUNT, script.Reg(r0), w.String("").Arg(), script.Reg(rDev), at, script.Number(unix.MOVE_MOUNT_F_EMPTY_PATH))
}
