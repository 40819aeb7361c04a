// Command floor is the least that a container can be: started in namespaces of
// its own, it brings up loopback, makes a root file system read-only, mounts
// /proc, moves into the root and becomes the function. There is no system call
// filter, no control group and no capability less. It is what the sandbox
// container is compared with, and nothing to run foreign code in.
//
// The arguments are the root file system and the function's command line.
package main

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 3 {
		fail("start", unix.EINVAL)
	}
	rootfs, argv := os.Args[1], os.Args[2:]
	steps := []struct {
		name string
		do   func() error
	}{
		{"bring up loopback", loopbackUp},
		{"make root", func() error { return mountRoot(rootfs) }},
		{"enter root", func() error { return enter(rootfs) }},
		{"execute function", func() error { return unix.Exec(argv[0], argv, os.Environ()) }},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			fail(step.name, err)
		}
	}
}

// fail does without package fmt, which would make the program slower to start.
func fail(what string, err error) {
	_, _ = os.Stderr.WriteString("floor: " + what + ": " + err.Error() + "\n")
	os.Exit(1)
}

func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, lo); err != nil {
		return err
	}
	return unix.Close(socket)
}

func mountRoot(rootfs string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount(rootfs, rootfs, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	readOnly := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, rootfs, 0, &readOnly); err != nil {
		return err
	}
	return unix.Mount("proc", filepath.Join(rootfs, "proc"), "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}

// enter moves into the root and takes the host's away: with both in one place
// the old one lies on top (pivot_root(2)).
func enter(rootfs string) error {
	if err := unix.Chdir(rootfs); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return err
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	return unix.Chdir("/")
}
