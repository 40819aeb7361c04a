package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/vmm"
	"github.com/unifaas/unifaas/internal/vmm/qemu/qmp"
)

// The oldest version that is supported, that of Debian 12.
const oldestMajor, oldestMinor = 7, 2

// Probe implements [vmm.Monitor]. It makes a machine that never runs.
func (m *Monitor) Probe(ctx context.Context) vmm.Capabilities {
	c := vmm.Capabilities{Remedy: remedy}
	path, err := m.path()
	if err != nil {
		c.Reason = err.Error()
		return c
	}
	chosen, err := m.choose(ctx)
	if err != nil {
		c.Reason, c.Remedy = err.Error(), ""
		return c
	}
	c.Accelerator, c.AcceleratorNote = chosen.accelerator, chosen.note
	version, err := m.try(ctx, path, chosen.accelerator)
	if err != nil {
		c.Reason, c.Remedy = fmt.Sprintf("%s cannot make a machine: %v", path, err), ""
		return c
	}
	c.Version = version.String()
	if !version.AtLeast(oldestMajor, oldestMinor) {
		c.Reason = fmt.Sprintf("%s is version %s, want %d.%d or newer", path, version, oldestMajor, oldestMinor)
		return c
	}
	c.Works, c.Remedy = true, ""
	c.Boots = []vmm.Boot{vmm.BootLinux, vmm.BootPVH}
	if m.machine == Q35 {
		c.Boots = append(c.Boots, vmm.BootDisk)
	}
	c.PCI, c.PowersOff = m.machine == Q35, true
	c.Cmdline = Parameters(chosen.accelerator)
	return c
}

// version returns QEMU's, of which is known what the last probe has found.
func (m *Monitor) version(ctx context.Context) (qmp.Version, error) {
	m.mu.Lock()
	found := m.found
	m.mu.Unlock()
	if found != nil {
		return *found, nil
	}
	path, err := m.path()
	if err != nil {
		return qmp.Version{}, err
	}
	chosen, err := m.choose(ctx)
	if err != nil {
		return qmp.Version{}, err
	}
	return m.try(ctx, path, chosen.accelerator)
}

// try makes a machine without a guest, asks it who it is, and lets it go.
func (m *Monitor) try(ctx context.Context, path string, a vmm.Accelerator) (qmp.Version, error) {
	ours, its, err := socketPair()
	if err != nil {
		return qmp.Version{}, err
	}
	l := &commandLine{}
	l.common(m.machine, a, model(a), nil)
	l.add("-S", "-chardev", "socket,id=steer,fd="+strconv.Itoa(l.inherit(its)), "-mon", "chardev=steer,mode=control")
	cmd := exec.CommandContext(ctx, path, l.args...)
	var said bytes.Buffer
	cmd.Env, cmd.Dir, cmd.ExtraFiles = []string{}, "/", l.files
	cmd.Stdout, cmd.Stderr = &said, &said
	// Nobody has it on record: it must not outlive this process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	ended, err := follow(cmd)
	its.Close()
	if err != nil {
		_ = ours.Close()
		return qmp.Version{}, err
	}
	version, err := greet(ctx, ours)
	if waited := <-ended; err == nil {
		err = waited
	}
	switch {
	case ctx.Err() != nil:
		return version, fmt.Errorf("%w: %w", ctx.Err(), context.Cause(ctx))
	case err != nil && said.Len() > 0:
		return version, errors.New(lastLine(said.String()))
	case err != nil:
		return version, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.found = &version
	return version, nil
}

// follow starts a command and waits for its end, on one thread: the kernel takes
// that thread's end for this process's.
func follow(cmd *exec.Cmd) (ended <-chan error, err error) {
	started, waited := make(chan error), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			waited <- cmd.Wait()
		}
	}()
	return waited, <-started
}

// greet asks the QEMU at the other end of conn for its version and tells it to
// quit. One with which that fails sees the connection closed; the process must
// be ended by who has started it.
func greet(ctx context.Context, conn *net.UnixConn) (qmp.Version, error) {
	c, err := qmp.New(ctx, conn, nil)
	if err != nil {
		return qmp.Version{}, err
	}
	defer func() { _ = c.Close() }()
	return c.Version(), c.Execute(ctx, "quit", nil, nil)
}

// socketPair returns two connected sockets: one for this program, one for a
// child.
func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, its := os.NewFile(uintptr(fds[0]), "steer"), os.NewFile(uintptr(fds[1]), "steer")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		its.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), its, nil
}

// Parameters returns what a Linux kernel must be told under an accelerator, as
// a piece of its command line: under TCG it can find out its clock's rate only
// with timers that a microvm does not have, and badly where they are, while
// instructions take as long as they like. The rate is this host's.
func Parameters(a vmm.Accelerator) string {
	if a != vmm.TCG {
		return ""
	}
	return "tsc_early_khz=" + strconv.FormatInt(clockRate(), 10)
}
