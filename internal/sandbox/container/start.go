package container

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/container/script"
)

// undoTimeout bounds the undoing of a start that failed.
const undoTimeout = 10 * time.Second

// state is what is recorded of an instance.
type state struct {
	// Cgroup is its group as [cgroup.Parent.Record] names it; "" when it has
	// none.
	Cgroup string `json:"cgroup,omitempty"`
	// UIDs is the first number of its range of users and groups; 0 when it
	// runs as the platform's own user.
	UIDs uint32 `json:"uids,omitempty"`
	// Pid and Started identify the first process of its pid namespace: one
	// with another start time, in clock ticks since the machine's boot, is
	// another process.
	Pid     int    `json:"pid,omitempty"`
	Started uint64 `json:"started,omitempty"`
}

// A starter is one start under way.
type starter struct {
	driver *Driver
	art    *artifact
	spec   sandbox.Spec
	state  state
	inst   *instance
	files  files
}

// Start makes an instance. See [sandbox.Driver].
func (d *Driver) Start(ctx context.Context, art sandbox.Artifact, spec sandbox.Spec) (sandbox.Instance, error) {
	a, ok := art.(*artifact)
	if !ok {
		return nil, errNotOurs
	}
	s := &starter{driver: d, art: a, spec: spec}
	s.inst = newInstance(d, spec.ID, spec.Dir, a.rev)
	err := s.run(ctx)
	s.files.close()
	if err == nil {
		s.inst.watch()
		return s.inst, nil
	}
	err = s.explain(ctx, err)
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return nil, errors.Join(err, s.inst.release(undo))
}

func (s *starter) explain(ctx context.Context, err error) error {
	kind := faas.KindBroken
	if ctx.Err() != nil {
		kind, err = faas.KindOf(ctx.Err()), errors.Join(ctx.Err(), err)
	}
	return faas.Errorf(kind, "start function %q in a container: %w", s.art.rev.Function.Ref, err)
}

func (s *starter) run(ctx context.Context) error {
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"cgroup", s.makeGroup},
		{"process", s.startProcess},
		{"gate", s.openGate},
		{"start", s.awaitFunction},
	}
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step.do(ctx); err != nil {
			return err
		}
		s.spec.Phase(step.name)
	}
	return nil
}

// makeGroup records the instance's cgroup and users, and makes the cgroup.
func (s *starter) makeGroup(context.Context) error {
	d := s.driver
	use, err := d.groups.Use()
	if err != nil {
		return err
	}
	if d.ids != nil {
		if s.inst.uids, err = d.ids.Take(); err != nil {
			return err
		}
	}
	s.state.UIDs = s.inst.uids
	if use {
		s.state.Cgroup = d.groups.Record(s.spec.ID)
	}
	if err := s.spec.Record(s.state); err != nil {
		return fmt.Errorf("record cgroup and users: %w", err)
	}
	if !use {
		return nil
	}
	s.inst.group, err = d.groups.Create(s.spec.ID, cgroup.Limits{
		Memory: s.art.limits.Memory,
		Pids:   s.art.limits.Pids + ownProcesses,
	})
	return err
}

// startProcess forks the first process and records it.
func (s *starter) startProcess(context.Context) error {
	err := s.openFiles()
	if err == nil {
		err = s.fork()
	}
	s.files.closeTheirs()
	if err != nil {
		return err
	}
	s.state.Pid, s.state.Started = s.inst.process.Pid, s.inst.process.Started
	if err := s.spec.Record(s.state); err != nil {
		return fmt.Errorf("record process: %w", err)
	}
	return nil
}

// openGate hands the process what could not be had before its namespaces were
// there, and lets it go on.
func (s *starter) openGate(context.Context) error {
	if err := s.inst.enterNetwork(); err != nil {
		return err
	}
	var rights []byte
	if s.inst.uids != 0 {
		root, err := openRoot(s.art.rev.Image.Rootfs, s.inst.process.Pid)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(root) }()
		rights = unix.UnixRights(root)
	}
	return s.files.send([]byte(s.spec.ID), rights)
}

// awaitFunction waits until the function has been started. The CPU limit comes
// only now: until here it was the platform's work.
func (s *starter) awaitFunction(ctx context.Context) error {
	stop := context.AfterFunc(ctx, s.files.interrupt)
	defer stop()
	message, err := s.files.receive()
	switch {
	case err != nil:
		return fmt.Errorf("wait for its first process: %w", err)
	case len(message) == 0:
		return errors.New("its first process was killed")
	case message[0] != script.Done:
		return s.art.failure(message)
	}
	if s.inst.group == nil {
		return nil
	}
	if err := s.inst.group.LimitCPU(s.art.limits.CPUs); err != nil {
		return fmt.Errorf("limit cpu: %w", err)
	}
	return nil
}

// failure is the error that a first process tells of, a [script.Failed].
func (a *artifact) failure(message []byte) error {
	if len(message) != script.FailedSize {
		return errors.New("its first process gave a strange answer")
	}
	step, errno := "arrange files and groups", syscall.Errno(binary.NativeEndian.Uint32(message[5:]))
	if op := binary.NativeEndian.Uint32(message[1:]); int64(op) < int64(len(a.steps)) {
		step = a.steps[op]
	}
	if errno == 0 {
		return errors.New(step)
	}
	return fmt.Errorf("%s: %w", step, errno)
}

// openRoot returns a mount of the root file system, read-only, in which the
// files' owners are those that the user namespace of process pid has. Where
// the file system can't do that (most can from Linux 5.12 on), the owners are
// nobody to the function.
func openRoot(rootfs string, pid int) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, rootfs, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open root file system %q: %w", rootfs, err)
	}
	attributes := unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV,
		// Where the host's mount is shared, as systemd has it, this one would be
		// its peer: what is mounted inside would show up on the host.
		Propagation: unix.MS_PRIVATE,
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attributes); err != nil {
		return -1, errors.Join(fmt.Errorf("protect root file system %q: %w", rootfs, err), unix.Close(fd))
	}
	users, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
	if err != nil {
		return -1, errors.Join(fmt.Errorf("open user namespace: %w", err), unix.Close(fd))
	}
	defer func() { _ = users.Close() }()
	_ = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(users.Fd())})
	return fd, nil
}
