package main

import (
	"errors"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// start starts the function, with the privileges of its user and no
// capability.
func (m *machine) start() error {
	if err := unix.Sethostname([]byte(m.plan.Hostname)); err != nil {
		return fail("set host name", err)
	}
	if err := m.limit(); err != nil {
		return err
	}
	program, err := m.program()
	if err != nil {
		return err
	}
	if err := dropPowers(); err != nil {
		return err
	}
	m.openSockets()
	return m.execute(program)
}

// limit sets what processes inherit. The function's are those of this process.
func (m *machine) limit() error {
	limits := []struct {
		resource int
		value    uint64
	}{{unix.RLIMIT_NOFILE, m.plan.OpenFiles}, {unix.RLIMIT_CORE, 0}, {unix.RLIMIT_NPROC, uint64(m.plan.Pids)}}
	for _, l := range limits {
		if l.value == 0 && l.resource != unix.RLIMIT_CORE {
			continue
		}
		if err := syscall.Setrlimit(l.resource, &syscall.Rlimit{Cur: l.value, Max: l.value}); err != nil {
			return fail("set resource limit", err)
		}
	}
	unix.Umask(0o022)
	return nil
}

// dropPowers takes from this thread what its children must not get. It keeps
// what it has itself.
func dropPowers() error {
	for c := 0; ; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // the last one
		}
		if err != nil {
			return fail("empty the bounding set", err)
		}
	}
	return fail("give up new privileges", unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
}

func (m *machine) execute(program string) error {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return fail("make pipe", err)
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail("open /dev/null", err)
	}
	m.output = pipe[0]
	attributes := &syscall.SysProcAttr{
		Setsid:     true,
		Credential: &syscall.Credential{Uid: m.plan.UID, Gid: m.plan.GID},
	}
	if m.group > 0 {
		attributes.UseCgroupFD, attributes.CgroupFD = true, m.group
	}
	m.function, err = syscall.ForkExec(program, m.plan.Argv, &syscall.ProcAttr{
		Dir: m.plan.Dir, Env: m.plan.Env, Sys: attributes,
		Files: []uintptr{uintptr(null), uintptr(pipe[1]), uintptr(pipe[1])},
	})
	_ = unix.Close(pipe[1])
	_ = unix.Close(null)
	if err != nil {
		return m.explain(program, err)
	}
	if m.reaped, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return fail("make eventfd", err)
	}
	m.status = make(chan unix.WaitStatus, 1)
	go m.reap()
	return nil
}

// explain says why a function could not be executed.
func (m *machine) explain(program string, err error) error {
	name := m.plan.Argv[0]
	var info unix.Stat_t
	switch {
	case unix.Stat(m.plan.Dir, &info) != nil:
		return fail("enter working folder "+m.plan.Dir, unix.Stat(m.plan.Dir, &info))
	case errors.Is(err, unix.ENOENT) && unix.Stat(program, &info) == nil:
		return errors.New("execute " + name + ": its interpreter or dynamic loader is not in the image")
	}
	return fail("execute "+name, err)
}

// program returns the path of what is executed: a name without a slash is
// looked for in the folders of the function's PATH.
func (m *machine) program() (string, error) {
	name := m.plan.Argv[0]
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, kv := range m.plan.Env {
		list, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for dir := range strings.SplitSeq(list, ":") {
			if strings.HasPrefix(dir, "/") && unix.Access(dir+"/"+name, unix.X_OK) == nil {
				return dir + "/" + name, nil
			}
		}
	}
	return "", errors.New("execute " + name + ": not found in PATH")
}

// reap waits for every process for which nobody else does.
func (m *machine) reap() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return // there are no more, and nobody to make new ones
		}
		if pid == m.function {
			m.status <- status
			_, _ = unix.Write(m.reaped, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		}
	}
}
