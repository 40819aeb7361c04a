package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/netns"
)

// runcGroups is the parent of the control groups that runc makes.
const runcGroups = "unifaas-bench-runc"

// A Runc starts containers with the command runc and nothing around it.
type Runc struct {
	exe  string
	dir  string
	rev  *faas.Revision
	next atomic.Int64
}

// NewRunc returns a Runc that starts rev and keeps what it writes in dir.
// Without runc the error says how to get it.
func NewRunc(dir string, rev *faas.Revision) (*Runc, error) {
	exe, err := find("runc", "apt-get install runc")
	if err != nil {
		return nil, err
	}
	return &Runc{exe: exe, dir: dir, rev: rev}, nil
}

// Close removes the parent of the containers' control groups.
func (r *Runc) Close() error { return removeGroups(runcGroups) }

type runcContainer struct {
	runc   *Runc
	id     string
	bundle string
	began  bool
}

// Prepare writes the container's bundle.
func (r *Runc) Prepare() (Instance, error) {
	c := &runcContainer{runc: r, id: fmt.Sprintf("bench-%d-%06d", os.Getpid(), r.next.Add(1))}
	c.bundle = filepath.Join(r.dir, c.id)
	if err := os.Mkdir(c.bundle, 0o700); err != nil {
		return nil, err
	}
	spec, err := runcSpec(r.rev, "/"+runcGroups+"/"+c.id)
	if err == nil {
		err = writeSpec(c.bundle, spec)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(c.bundle))
	}
	return c, nil
}

func (c *runcContainer) file(name string) string { return filepath.Join(c.bundle, name) }

func (c *runcContainer) command(args ...string) *exec.Cmd {
	cmd := exec.Command(c.runc.exe, append([]string{"--root", filepath.Join(c.runc.dir, "root")}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// Start runs the container. The way in is its network namespace, which is
// known once runc has returned.
func (c *runcContainer) Start(ctx context.Context, path string) (time.Duration, error) {
	log, err := os.OpenFile(c.file("log"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { _ = log.Close() }()
	cmd := c.command("run", "--detach", "--bundle", c.bundle, "--pid-file", c.file("pid"), c.id)
	cmd.Stdout, cmd.Stderr = log, log
	c.began = true
	started := time.Now()
	if err = cmd.Run(); err == nil {
		err = c.awaitAnswer(ctx, path)
	}
	took := time.Since(started)
	if err != nil {
		return 0, fmt.Errorf("start bare runc: %w: %s", err, lastWords(c.file("log")))
	}
	return took, nil
}

func (c *runcContainer) awaitAnswer(ctx context.Context, path string) error {
	pid, err := readPid(c.file("pid"))
	if err != nil {
		return err
	}
	inside, err := netns.OfProcess(pid)
	if err != nil {
		return err
	}
	defer inside.Close()
	return awaitInside(ctx, inside, c.runc.rev.Function.Port, path, nil)
}

func (c *runcContainer) Kill() error { return killByFile(c.file("pid")) }

func (c *runcContainer) Delete() error {
	var err error
	if c.began {
		var out []byte
		if out, err = c.command("delete", "--force", c.id).CombinedOutput(); err != nil {
			err = fmt.Errorf("delete bare runc %s: %w: %s", c.id, err, bytes.TrimSpace(out))
		}
	}
	return errors.Join(err, os.RemoveAll(c.bundle))
}
