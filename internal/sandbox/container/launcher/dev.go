package main

import (
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox/container/plan"
)

// nodes are the devices of a function: those that the OCI runtime
// specification demands (config-linux.md, default devices) but the console.
var nodes = []string{"null", "zero", "full", "random", "urandom", "tty"}

var links = []struct{ name, target string }{
	{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
	{"ptmx", "pts/ptmx"},
}

// mountDev makes a /dev of its own. In a user namespace devices can't be
// made, so that they are mounts of the host's.
func mountDev(root int, p *plan.Plan) error {
	dev, err := mount(root, "tmpfs", "dev", noSuid|noExec, "mode", "755", "size", "64k")
	if err != nil {
		return err
	}
	for _, name := range nodes {
		if err := addNode(dev, name); err != nil {
			return wrap("make /dev/"+name, err)
		}
	}
	for _, l := range links {
		if err := unix.Symlinkat(l.target, dev, l.name); err != nil {
			return wrap("make /dev/"+l.name, err)
		}
	}
	for _, name := range []string{"pts", "shm"} {
		if err := unix.Mkdirat(dev, name, 0o755); err != nil {
			return wrap("make /dev/"+name, err)
		}
	}
	if _, err := mount(dev, "devpts", "pts", noSuid|noExec, "ptmxmode", "666", "mode", "620"); err != nil {
		return err
	}
	if _, err := mount(dev, "tmpfs", "shm", noSuid|noDev|noExec, "mode", "1777", "size", decimal(p.Shm)); err != nil {
		return err
	}
	return wrap("write-protect /dev", restrict(dev, 0, frozen))
}

func addNode(dev int, name string) error {
	file, err := unix.Openat(dev, name, unix.O_CREAT|unix.O_EXCL|unix.O_RDONLY|unix.O_CLOEXEC, 0o666)
	if err != nil {
		return err
	}
	shut(file)
	node, err := clone(unix.AT_FDCWD, "/dev/"+name, 0)
	if err != nil {
		return err
	}
	defer shut(node)
	// A device can be written to on a mount that is write-protected.
	if err := restrict(node, 0, frozen|noSuid|noExec); err != nil {
		return err
	}
	return unix.MoveMount(node, "", dev, name, unix.MOVE_MOUNT_F_EMPTY_PATH)
}
