package gvisor

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// A process describes a sandbox process to be.
type process struct {
	id    string
	files []uintptr // the child's descriptors; the caller's to close
	args  []string  // of gVisor itself
	boot  []string  // of its boot command
}

// namespaces of a sandbox. The pid namespace is also what ends it: its first
// process is the sandbox itself, and the kernel kills the others with it.
const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS |
	unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// self is the running binary. Its path would not do: the file there may have
// been replaced by an upgrade, which speaks another protocol, and a sandbox,
// being nobody, may not enter the folders that lead to it.
const self = "/proc/self/exe"

// nobody is who a sandbox is on the host when root starts it.
const nobody = 65534

// newProcess describes a process whose standard input, output and error are
// null, diagnostics and diagnostics, that waits at gate, and that serves tunnel.
func newProcess(id string, null, diagnostics, gate, tunnel int) *process {
	return &process{
		id:    id,
		files: []uintptr{uintptr(null), uintptr(diagnostics), uintptr(diagnostics), gateFD: uintptr(gate), tunnelFD: uintptr(tunnel)},
		args:  []string{sandboxName, "--platform=systrap"},
		boot:  []string{"boot", "--bundle=/", "--apply-caps", "--setup-root"},
	}
}

// pass hands f to the sandbox as the value of a flag of the boot command.
func (p *process) pass(flag string, fd int) {
	p.boot = append(p.boot, "--"+flag+"="+strconv.Itoa(len(p.files)))
	p.files = append(p.files, uintptr(fd))
}

// start makes the process and returns its pid and a pidfd. attr says in which
// cgroup it is born. It waits at its gate.
func (p *process) start(attr *syscall.SysProcAttr) (pid int, pidfd *os.File, err error) {
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 {
		uid, gid = nobody, nobody
	}
	fd := -1
	attr.Setsid = true // the platform's terminal is not the sandbox's
	attr.Cloneflags = namespaces
	// One user is enough: the root file system is an image, not files.
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	attr.Credential = &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: true}
	attr.PidFD = &fd
	argv := append(append(append([]string{}, p.args...), p.boot...), p.id)
	pid, _, err = syscall.StartProcess(self, argv, &syscall.ProcAttr{Files: p.files, Env: []string{}, Sys: attr})
	if errors.Is(err, unix.EACCES) {
		err = fmt.Errorf("%w; the platform's binary must be executable by everyone (chmod o+rx), for a sandbox is nobody", err)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("start sandbox process: %w", err)
	}
	if fd < 0 {
		return pid, nil, fmt.Errorf("start sandbox process: the kernel gave no pidfd (Linux 5.4 or later is needed)")
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return pid, nil, os.NewSyscallError("fcntl", err)
	}
	return pid, os.NewFile(uintptr(fd), "pidfd"), nil
}
