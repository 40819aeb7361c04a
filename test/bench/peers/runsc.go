package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/test/bench/proc"
)

// pollEvery is the pause between two questions to a starting sandbox. It is
// far below what a start takes.
const pollEvery = time.Millisecond

// runscGroups is the parent of the control groups that runsc makes.
const runscGroups = "unifaas-bench"

// A Runsc starts sandboxes with the command runsc and nothing around it.
type Runsc struct {
	exe  string // named runsc
	dir  string
	rev  *faas.Revision
	next atomic.Int64
}

// NewRunsc returns a Runsc that starts rev and keeps what it writes in dir.
// platform is our binary, which is a complete runsc when it is called so: the
// peer is the same build of gVisor.
func NewRunsc(platform, dir string, rev *faas.Revision) (*Runsc, error) {
	exe := filepath.Join(dir, "runsc")
	if err := os.Symlink(platform, exe); err != nil {
		return nil, err
	}
	r := &Runsc{exe: exe, dir: dir, rev: rev}
	out, err := exec.Command(exe, "--version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "runsc version") {
		return nil, fmt.Errorf("%s does not answer to the name runsc: %w: %s", platform, err, bytes.TrimSpace(out))
	}
	return r, nil
}

type runscSandbox struct {
	runsc  *Runsc
	id     string
	bundle string
	netns  *os.File
}

// Prepare makes what a sandbox needs that is not runsc's to make: its bundle,
// and its network namespace with only a loopback device.
func (r *Runsc) Prepare() (Instance, error) {
	// runsc takes the beginning of an id for the id: none may begin another.
	b := &runscSandbox{runsc: r, id: fmt.Sprintf("bench-%d-%06d", os.Getpid(), r.next.Add(1))}
	b.bundle = filepath.Join(r.dir, b.id)
	if err := os.Mkdir(b.bundle, 0o700); err != nil {
		return nil, err
	}
	var err error
	if b.netns, err = proc.NewNetNS(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(b.bundle))
	}
	netns := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), b.netns.Fd())
	spec, err := runscSpec(r.rev, "/"+runscGroups+"/"+b.id, netns)
	if err == nil {
		err = writeSpec(b.bundle, spec)
	}
	if err != nil {
		return nil, errors.Join(err, b.netns.Close(), os.RemoveAll(b.bundle))
	}
	return b, nil
}

func (r *Runsc) command(args ...string) *exec.Cmd {
	flags := []string{
		"--root", filepath.Join(r.dir, "root"), "--platform=systrap", "--network=sandbox", "--overlay2=none",
	}
	cmd := exec.Command(r.exe, append(flags, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// Start runs the sandbox and returns how long it took from there until its
// function answered 200 to a request for path.
func (b *runscSandbox) Start(ctx context.Context, path string) (time.Duration, error) {
	log, err := os.OpenFile(b.file("log"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { _ = log.Close() }()
	cmd := b.runsc.command("run", "--detach", "--bundle", b.bundle, "--pid-file", b.file("pid"), b.id)
	cmd.Stdout, cmd.Stderr = log, log
	started := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	err = b.awaitAnswer(ctx, path, ended)
	took := time.Since(started)
	// The answer can be there a moment before runsc has returned; and one that
	// is given up must have returned before it is deleted.
	if err = errors.Join(err, <-ended); err != nil {
		return 0, fmt.Errorf("start bare runsc: %w: %s", err, lastWords(b.file("log")))
	}
	return took, nil
}

func (b *runscSandbox) file(suffix string) string { return b.bundle + "." + suffix }

// awaitAnswer polls the function. It gives up when runsc has failed, whose
// status stays in ended.
func (b *runscSandbox) awaitAnswer(ctx context.Context, path string, ended chan error) error {
	socket := filepath.Join(b.runsc.dir, "root", "runsc-"+b.id+".sock")
	for {
		conn, err := portForward(ctx, socket, b.id, b.runsc.rev.Function.Port)
		if err == nil {
			if err = ask(ctx, conn, path); err == nil {
				return nil
			}
		}
		select {
		case status := <-ended:
			ended <- status
			if status != nil {
				return err
			}
		default:
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(pollEvery):
		}
	}
}

// Kill ends the sandbox process and its function, by its pid, and waits for
// nothing and clears nothing away. It is the least that a stop can be.
func (b *runscSandbox) Kill() error {
	return killByFile(b.file("pid"))
}

// killByFile kills the process whose number a runtime has written to a file.
func killByFile(path string) error {
	pid, err := readPid(path)
	if err != nil {
		return err
	}
	return os.NewSyscallError("kill", unix.Kill(pid, unix.SIGKILL))
}

func readPid(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("read the number of a process: %w", err)
	}
	return pid, nil
}

// Delete removes everything of the sandbox.
func (b *runscSandbox) Delete() error {
	out, err := b.runsc.command("delete", "--force", b.id).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("delete bare runsc %s: %w: %s", b.id, err, bytes.TrimSpace(out))
	}
	return errors.Join(err, b.netns.Close(), os.RemoveAll(b.bundle),
		os.RemoveAll(b.file("log")), os.RemoveAll(b.file("pid")))
}

// Close removes what is left of all sandboxes together: gVisor's mount of an
// empty network namespace for its file servers, and the parent of their
// cgroups.
func (r *Runsc) Close() error {
	var errs []error
	mounts, err := filepath.Glob(filepath.Join(r.dir, "root", "null-netns*"))
	errs = append(errs, err)
	for _, mount := range mounts {
		errs = append(errs, unmountAll(mount))
	}
	return errors.Join(append(errs, removeGroups(runscGroups))...)
}

// unmountAll takes every mount off path: sandboxes that start side by side may
// each have put one there.
func unmountAll(path string) error {
	for {
		switch err := unix.Unmount(path, unix.MNT_DETACH); {
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
			return nil
		case err != nil:
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
}
