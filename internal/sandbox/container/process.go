package container

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/host/process"
	"github.com/unifaas/unifaas/internal/sandbox/container/plan"
)

// namespaces of an instance. The launcher makes the one of control groups when
// it is in its own, since that becomes the root of what is seen.
const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS |
	unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// launcherCapabilities are what the launcher needs in its user namespace.
// Root there has them by itself; another user keeps them only as ambient ones.
var launcherCapabilities = []uintptr{
	unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_SETPCAP, unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SYS_RESOURCE,
}

// launcherEnv keeps the launcher small: one thread for Go code, no collector.
var launcherEnv = []string{"GOMAXPROCS=1", "GOGC=off"}

// launcherPath is the launcher as the child has it.
var launcherPath = fmt.Sprintf("/proc/self/fd/%d", plan.LauncherFD)

// fork starts the launcher. attr says in which cgroup it is born.
func (s *starter) fork(attr *syscall.SysProcAttr) error {
	attr.Setsid = true // the platform's terminal is not the function's
	attr.Cloneflags = namespaces
	if s.inst.uids != 0 {
		mapRange(attr, int(s.inst.uids))
	} else {
		mapOne(attr, s.art.uid, s.art.gid)
	}
	argv := []string{plan.Name, s.spec.ID}
	pid, _, err := syscall.StartProcess(launcherPath, argv, &syscall.ProcAttr{Files: s.files.child, Env: launcherEnv, Sys: attr})
	if err != nil {
		return fmt.Errorf("start launcher: %w", err)
	}
	// Nobody waits for it yet, so that the number is still its own.
	if s.inst.process, err = process.Hold(pid); err != nil {
		return fmt.Errorf("start launcher: %w", err)
	}
	return nil
}

// mapRange gives the instance users and groups that nobody else has. The
// launcher begins as root among them.
func mapRange(attr *syscall.SysProcAttr, first int) {
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: first, Size: idRange}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: first, Size: idRange}}
	attr.GidMappingsEnableSetgroups = true
	attr.Credential = &syscall.Credential{}
}

// mapOne makes the platform's user the function's, the only mapping that an
// ordinary user may make.
func mapOne(attr *syscall.SysProcAttr, uid, gid uint32) {
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: int(uid), HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: int(gid), HostID: os.Getegid(), Size: 1}}
	attr.Credential = &syscall.Credential{Uid: uid, Gid: gid, NoSetGroups: true}
	attr.AmbientCaps = launcherCapabilities
}
