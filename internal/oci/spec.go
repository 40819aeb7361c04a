package oci

import (
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/unifaas/unifaas/internal/faas"
)

const (
	// openFiles is the limit of open files of a function: what systemd and
	// Docker give by default, more than one instance's memory can use.
	openFiles = 1 << 20
	// sharedMemory is Docker's default size of /dev/shm, in bytes.
	sharedMemory = 64 << 20
)

// Options are what a specification needs beside the revision.
type Options struct {
	// Rootfs is the path of the root file system as the runtime will see it.
	Rootfs string
	// Hostname is the name that the function sees; "" leaves the runtime's.
	Hostname string
	// Tmp is mounted on /tmp. Its destination is filled in.
	Tmp specs.Mount
	// SharedMemory bounds /dev/shm, in bytes; 0 is Docker's 64 MiB.
	SharedMemory int64
	// Annotations are handed to the runtime.
	Annotations map[string]string
}

// Spec returns a specification of an instance of rev: a read-only root, a
// private /tmp, no capability, no new privileges. It has no namespace, cgroup
// or seccomp filter in it; those are the runtime's business.
func Spec(rev *faas.Revision, o Options) (*specs.Spec, error) {
	process, err := process(rev)
	if err != nil {
		return nil, err
	}
	return &specs.Spec{
		Version:     specs.Version,
		Process:     process,
		Root:        &specs.Root{Path: o.Rootfs, Readonly: true},
		Hostname:    o.Hostname,
		Mounts:      mounts(o.Tmp, o.SharedMemory),
		Annotations: o.Annotations,
		Linux:       &specs.Linux{},
	}, nil
}

func process(rev *faas.Revision) (*specs.Process, error) {
	argv, err := rev.Argv()
	if err != nil {
		return nil, err
	}
	user, err := lookupUser(rev.Image.Rootfs, rev.Image.Config.User)
	if err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "function %q: %w", rev.Function.Ref, err)
	}
	dir := rev.Image.Config.WorkDir
	if dir == "" {
		dir = "/"
	}
	return &specs.Process{
		Args:            argv,
		Env:             rev.Environ(),
		Cwd:             dir,
		User:            user,
		Capabilities:    &specs.LinuxCapabilities{},
		NoNewPrivileges: true,
		Rlimits:         rlimits(rev.Function.Limits),
	}, nil
}

func rlimits(l faas.Limits) []specs.POSIXRlimit {
	limits := []specs.POSIXRlimit{
		{Type: "RLIMIT_NOFILE", Soft: openFiles, Hard: openFiles},
		{Type: "RLIMIT_CORE"},
	}
	if l.Pids > 0 {
		n := uint64(l.Pids)
		limits = append(limits, specs.POSIXRlimit{Type: "RLIMIT_NPROC", Soft: n, Hard: n})
	}
	return limits
}

// mounts returns the file systems of every function. Each one that can be
// written to is bounded.
func mounts(tmp specs.Mount, shm int64) []specs.Mount {
	if shm == 0 {
		shm = sharedMemory
	}
	tmp.Destination = "/tmp"
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=1m"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=" + strconv.FormatInt(shm, 10)}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		tmp,
	}
}

// MountPoints are the directories that a root file system must have for the
// mounts of Spec.
func MountPoints() []string { return []string{"/dev", "/proc", "/sys", "/tmp"} }
