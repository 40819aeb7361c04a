package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// root is the folder of the initial file system that becomes the root.
const root = "/root-to-be"

const cgroups = "/sys/fs/cgroup"

// makeSystem leaves the system as a test finds it elsewhere: with a root that
// pivot_root(2) can leave, which the initial one is not, the usual file
// systems, version 2 of cgroups with its controllers handed down, and a
// loopback interface.
func makeSystem() error {
	if err := switchRoot(); err != nil {
		return fmt.Errorf("switch root: %w", err)
	}
	mounts := []struct {
		kind, at, data string
		flags          uintptr
	}{
		{"proc", "/proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"sysfs", "/sys", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"devtmpfs", "/dev", "", unix.MS_NOSUID},
		{"devpts", "/dev/pts", "ptmxmode=666", unix.MS_NOSUID | unix.MS_NOEXEC},
		{"tmpfs", "/dev/shm", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV},
		{"tmpfs", "/run", "mode=755", unix.MS_NOSUID | unix.MS_NODEV},
		{"cgroup2", cgroups, "nsdelegate", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	}
	for _, m := range mounts {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.at, err)
		}
	}
	// As systemd does.
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	return errors.Join(linkDescriptors(), handDown(cgroups), raiseLoopback(), installBusybox())
}

func switchRoot() error {
	if err := unix.Mount(root, root, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return err
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return os.Chdir("/")
}

func linkDescriptors() error {
	var errs []error
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		errs = append(errs, os.Symlink(target, filepath.Join("/dev", name)))
	}
	return errors.Join(errs...)
}

// handDown makes a group give its controllers to its children.
func handDown(group string) error {
	return os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte("+cpu +memory +pids"), 0)
}

func raiseLoopback() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(socket) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("raise the loopback interface: %w", err)
	}
	return nil
}

func installBusybox() error {
	out, err := exec.Command("/bin/busybox", "--install", "-s", "/bin").CombinedOutput()
	if err != nil {
		return fmt.Errorf("install busybox: %w: %s", err, out)
	}
	return nil
}

// describe tells the kernel's release and what its cgroups control.
func describe() string {
	var name unix.Utsname
	_ = unix.Uname(&name) // it never fails
	release, _, _ := bytes.Cut(name.Release[:], []byte{0})
	controllers, err := os.ReadFile(filepath.Join(cgroups, "cgroup.controllers"))
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("Linux %s; cgroup 2 with %s", release, strings.TrimSpace(string(controllers)))
}

// diskTime is for a disk to be found.
const diskTime = 10 * time.Second

// mountTmp mounts what tests write to.
func mountTmp(disk string) error {
	if err := os.MkdirAll("/tmp", 0o755); err != nil {
		return err
	}
	kind, options := "ext4", ""
	if disk == "" {
		disk, kind, options = "tmpfs", "tmpfs", "mode=1777"
	}
	var err error
	for deadline := time.Now().Add(diskTime); ; time.Sleep(50 * time.Millisecond) {
		err = unix.Mount(disk, "/tmp", kind, unix.MS_NOSUID|unix.MS_NODEV, options)
		if !errors.Is(err, unix.ENOENT) || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("mount %s on /tmp: %w", disk, err)
	}
	return os.Chmod("/tmp", 0o777|os.ModeSticky)
}

// load loads a kernel module; one that is loaded already is no error.
func load(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.FinitModule(int(file.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w", path, err)
	}
	return nil
}
