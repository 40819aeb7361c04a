package dockertest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/test/bench/proc"
)

// dirEnv names the variable by which the process with the tests knows the
// daemon's folder. What that process starts sees it, too.
const dirEnv = "UNIFAAS_DOCKERTEST_DIR"

// keeperEnv names the variable with the keeper's process id: its child has a
// connection to it, its children's children have not.
const keeperEnv = "UNIFAAS_DOCKERTEST_KEEPER"

// Main runs m, a *testing.M or what wraps one, beside a daemon of its own and
// returns its exit status. Where
// there can be no daemon, m runs all the same and [Get] skips.
func Main(m interface{ Run() int }) int {
	if kept() {
		unix.CloseOnExec(keeperFD)
	}
	if os.Getenv(dirEnv) != "" || unavailable() != nil {
		return m.Run()
	}
	status, err := supervise()
	if err != nil {
		fmt.Fprintln(os.Stderr, "dockertest:", err)
		return 1
	}
	return status
}

// kept reports whether this is the process with the tests.
func kept() bool { return os.Getenv(keeperEnv) == strconv.Itoa(os.Getppid()) }

// supervise runs the tests in a process of their own and the daemon for them.
func supervise() (status int, err error) {
	// A child's parent-death signal comes at the death of the parent's thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	dir, err := os.MkdirTemp("", "dkt")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ns, err := proc.NewNetNS()
	if err != nil {
		return 0, err
	}
	defer func() { _ = ns.Close() }()
	ours, theirs, err := socketPair()
	if err != nil {
		return 0, err
	}
	defer func() { _ = ours.Close() }()
	tests := exec.Command("/proc/self/exe", os.Args[1:]...)
	tests.Args[0] = os.Args[0]
	tests.Env = append(os.Environ(), dirEnv+"="+dir, keeperEnv+"="+strconv.Itoa(os.Getpid()))
	tests.Stdin, tests.Stdout, tests.Stderr = os.Stdin, os.Stdout, os.Stderr
	tests.ExtraFiles = []*os.File{theirs}
	tests.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = proc.InNetNS(ns, tests.Start)
	_ = theirs.Close()
	if err != nil {
		return 0, err
	}
	k := &keeper{dir: dir, ns: ns}
	err = k.serve(ours)
	return exitStatus(tests.Wait()), errors.Join(err, k.close())
}

// socketPair returns the ends of the connection by which the tests ask for
// the daemon.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "tests"), os.NewFile(uintptr(fds[1]), "keeper"), nil
}

func exitStatus(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	default:
		fmt.Fprintln(os.Stderr, "dockertest: the tests ended:", err)
		return 1
	}
}
