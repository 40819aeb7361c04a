package main

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox/container/plan"
)

const (
	noSuid = unix.MOUNT_ATTR_NOSUID
	noDev  = unix.MOUNT_ATTR_NODEV
	noExec = unix.MOUNT_ATTR_NOEXEC
	frozen = unix.MOUNT_ATTR_RDONLY
)

// enterRoot makes the function's root and leaves the host's for good. Every
// path of the image is looked up below its root and never through a link:
// what the image has in the place of a mount point can't lead elsewhere.
func enterRoot(p *plan.Plan, root int) error {
	root, err := mountRoot(p, root)
	if err != nil {
		return err
	}
	for _, step := range []func(root int, p *plan.Plan) error{mountProc, mountSys, mountDev, mountTmp} {
		if err := step(root, p); err != nil {
			return err
		}
	}
	if err := unix.Fchdir(root); err != nil {
		return wrap("enter root", err)
	}
	// Old and new root in one place: the old one comes to lie on top.
	if err := unix.PivotRoot(".", "."); err != nil {
		return wrap("pivot root", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return wrap("leave the host's root", err)
	}
	return wrap("enter root", unix.Chdir("/"))
}

// mountRoot attaches the image, read-only, on top of the host's root, the one
// folder that is sure to be there.
func mountRoot(p *plan.Plan, root int) (int, error) {
	var err error
	if root < 0 {
		if root, err = clone(unix.AT_FDCWD, p.Rootfs, 0); err != nil {
			return -1, wrap("open root file system", err)
		}
		if err := restrict(root, 0, frozen|noSuid|noDev); err != nil {
			return -1, wrap("protect root file system", err)
		}
	}
	if err := unix.MoveMount(root, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return -1, wrap("mount root file system", err)
	}
	return root, nil
}

func mountProc(root int, p *plan.Plan) error {
	proc, err := mount(root, "proc", "proc", noSuid|noDev|noExec)
	if err != nil {
		return err
	}
	if err := forbidNamespaces(proc); err != nil {
		return err
	}
	return protect(root, p, "/proc/")
}

// forbidNamespaces keeps the instance from making user namespaces, beside the
// system call filter that does so, too.
func forbidNamespaces(proc int) error {
	fd, err := unix.Openat(proc, "sys/user/max_user_namespaces", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil // a kernel without the limit
	}
	if err == nil {
		_, err = unix.Write(fd, []byte("0"))
		_ = unix.Close(fd)
	}
	return wrap("limit user namespaces", err)
}

func mountSys(root int, p *plan.Plan) error {
	if _, err := mount(root, "sysfs", "sys", noSuid|noDev|noExec|frozen); err != nil {
		return err
	}
	if p.Cgroup {
		if _, err := mount(root, "cgroup2", "sys/fs/cgroup", noSuid|noDev|noExec|frozen); err != nil {
			return err
		}
	}
	return protect(root, p, "/sys/")
}

func mountTmp(root int, p *plan.Plan) error {
	_, err := mount(root, "tmpfs", "tmp", noSuid|noDev, "mode", "1777", "size", decimal(p.Tmp))
	return err
}

// protect masks and write-protects the plan's paths that begin with prefix.
// What the kernel does not have needs no protection.
func protect(root int, p *plan.Plan, prefix string) error {
	for _, path := range p.ReadOnly {
		if strings.HasPrefix(path, prefix) {
			if err := skipMissing(freeze(root, path[1:])); err != nil {
				return wrap("write-protect "+path, err)
			}
		}
	}
	for _, path := range p.Masked {
		if strings.HasPrefix(path, prefix) {
			if err := skipMissing(mask(root, path[1:])); err != nil {
				return wrap("mask "+path, err)
			}
		}
	}
	return nil
}

func skipMissing(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func freeze(root int, path string) error {
	target, err := lookUp(root, path)
	if err != nil {
		return err
	}
	defer shut(target)
	copied, err := clone(target, "", unix.AT_RECURSIVE)
	if err != nil {
		return err
	}
	defer shut(copied)
	if err := restrict(copied, unix.AT_RECURSIVE, frozen|noSuid|noDev|noExec); err != nil {
		return err
	}
	return attach(copied, target)
}

// mask puts an empty folder over a folder, and the null device over a file.
func mask(root int, path string) error {
	target, err := lookUp(root, path)
	if err != nil {
		return err
	}
	defer shut(target)
	var stat unix.Stat_t
	if err := unix.Fstat(target, &stat); err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT == unix.S_IFDIR {
		empty, err := create("tmpfs", frozen|noSuid|noDev|noExec, "mode", "555", "nr_blocks", "1", "nr_inodes", "1")
		if err != nil {
			return err
		}
		defer shut(empty)
		return attach(empty, target)
	}
	null, err := clone(unix.AT_FDCWD, "/dev/null", 0)
	if err != nil {
		return err
	}
	defer shut(null)
	if err := restrict(null, 0, frozen|noSuid|noExec); err != nil {
		return err
	}
	return attach(null, target)
}
