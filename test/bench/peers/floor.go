package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/netns"
)

// namespaces are those of the platform's sandbox container.
const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// allUsers is how many users and groups an image can have.
const allUsers = 1 << 16

// A Floor starts a function with clone and exec alone.
type Floor struct {
	exe  string // command test/bench/floor
	dir  string
	rev  *faas.Revision
	next atomic.Int64
}

// NewFloor returns a Floor that starts rev through the program exe, the
// command test/bench/floor, and keeps what it writes in dir.
func NewFloor(exe, dir string, rev *faas.Revision) *Floor {
	return &Floor{exe: exe, dir: dir, rev: rev}
}

// Close has nothing to remove.
func (f *Floor) Close() error { return nil }

type cloned struct {
	floor *Floor
	log   string
	cmd   *exec.Cmd     // nil before the start
	done  chan struct{} // closed when the function has ended
}

// Prepare makes the command; the kernel makes everything else.
func (f *Floor) Prepare() (Instance, error) {
	return &cloned{
		floor: f, done: make(chan struct{}),
		log: filepath.Join(f.dir, fmt.Sprintf("%06d.log", f.next.Add(1))),
	}, nil
}

func (c *cloned) Start(ctx context.Context, path string) (time.Duration, error) {
	argv, err := c.floor.rev.Argv()
	if err != nil {
		return 0, err
	}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(c.floor.exe, append([]string{c.floor.rev.Image.Rootfs}, argv...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.floor.rev.Environ(), log, log
	// The users are the host's: a map costs the same whatever it says.
	users := []syscall.SysProcIDMap{{Size: allUsers}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true, Pdeathsig: unix.SIGKILL, Cloneflags: namespaces,
		UidMappings: users, GidMappings: users, GidMappingsEnableSetgroups: true,
	}
	started := time.Now()
	if err = c.spawn(cmd); err == nil {
		err = c.awaitAnswer(ctx, path)
	}
	took := time.Since(started)
	if err != nil {
		return 0, fmt.Errorf("clone and exec: %w: %s", err, lastWords(c.log))
	}
	return took, nil
}

// spawn starts cmd on a thread that stays until its end: the death of that is
// what the kernel would kill the function at.
func (c *cloned) spawn(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			c.cmd = cmd
		}
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is killed, as a rule
			close(c.done)
		}
	}()
	return <-started
}

func (c *cloned) awaitAnswer(ctx context.Context, path string) error {
	inside, err := netns.OfProcess(c.cmd.Process.Pid)
	if err != nil {
		return err
	}
	defer inside.Close()
	return awaitInside(ctx, inside, c.floor.rev.Function.Port, path, c.done)
}

func (c *cloned) Kill() error { return c.cmd.Process.Kill() }

func (c *cloned) Delete() error {
	var err error
	if c.cmd != nil {
		if err = c.Kill(); errors.Is(err, os.ErrProcessDone) {
			err = nil
		}
		<-c.done // its namespaces and mounts go with it
	}
	return errors.Join(err, os.RemoveAll(c.log))
}
