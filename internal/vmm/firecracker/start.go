package firecracker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/host/process"
	"github.com/unifaas/unifaas/internal/vmm"
	"github.com/unifaas/unifaas/internal/vmm/firecracker/api"
)

// undoTimeout bounds the undoing of a start that failed.
const undoTimeout = 20 * time.Second

// Start makes a machine and runs it. See [vmm.Monitor].
func (m *Monitor) Start(ctx context.Context, c vmm.Config) (vmm.Machine, error) {
	s := &start{config: c, place: placeKernel, setUp: configureVersion}
	return m.start(ctx, s)
}

// Restore makes a machine of a snapshot. See [vmm.Monitor]. The bounds of its
// devices are those of the machine that was kept. Before Firecracker 1.12 it
// must have taps of the same names.
func (m *Monitor) Restore(ctx context.Context, c vmm.Config, from string) (vmm.Machine, error) {
	s := &start{config: c, setUp: loadVersion}
	s.place = func(h home, _ vmm.Config) error {
		for _, name := range []string{stateName, memoryName} {
			if err := h.place(filepath.Join(from, name), name, true); err != nil {
				return fmt.Errorf("place the snapshot in %q: %w", from, err)
			}
		}
		return nil
	}
	return m.start(ctx, s)
}

// A start is one under way, of a new machine or of one that was kept.
type start struct {
	config vmm.Config
	set    settings
	// place puts the files into the home that the two don't have in common,
	// setUp makes the requests.
	place func(home, vmm.Config) error
	setUp func(context.Context, *start, *api.Client, version) error
}

func (m *Monitor) start(ctx context.Context, s *start) (_ vmm.Machine, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("start machine %q: %w", s.config.ID, err)
		}
	}()
	if err := check(s.config); err != nil {
		return nil, err
	}
	if s.set, err = readSettings(s.config.Options); err != nil {
		return nil, err
	}
	p, err := m.find()
	if err != nil {
		return nil, err
	}
	h := m.homeOf(s.config, p)
	if err := makeHome(s.config.Dir, h); err != nil {
		return nil, err
	}
	mach, err := s.spawn(h, p)
	if err != nil {
		return nil, errors.Join(err, h.remove(s.config.Dir))
	}
	// From here on the home goes with the process.
	if err := s.run(ctx, mach); err != nil {
		err = mach.explain(ctx, err)
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		return nil, errors.Join(err, mach.Kill(undo), mach.Close())
	}
	return mach, nil
}

// homeOf says where a machine's home is.
func (m *Monitor) homeOf(c vmm.Config, p programs) home {
	h := home{Top: filepath.Join(c.Dir, "home"), UID: -1, GID: -1}
	if os.Geteuid() == 0 {
		h.UID, h.GID = c.UID, c.GID
	}
	h.Dir = filepath.Join(h.Top, "root")
	if p.jailer == "" {
		return h
	}
	h.Jailed = true
	if m.options.Homes != "" {
		h.Top = filepath.Join(m.options.Homes, c.ID)
	}
	// This is the jailer's order (src/jailer/src/env.rs).
	h.Dir = filepath.Join(h.Top, filepath.Base(p.firecracker), c.ID, "root")
	return h
}

func placeKernel(h home, c vmm.Config) error {
	if err := h.place(c.Kernel, kernelName, true); err != nil {
		return fmt.Errorf("place kernel %q: %w", c.Kernel, err)
	}
	if c.Initrd == "" {
		return nil
	}
	if err := h.place(c.Initrd, initrdName, true); err != nil {
		return fmt.Errorf("place initrd %q: %w", c.Initrd, err)
	}
	return nil
}

// spawn starts Firecracker in its home. On error nothing runs.
func (s *start) spawn(h home, p programs) (*machine, error) {
	if err := s.place(h, s.config); err != nil {
		return nil, err
	}
	for i, d := range s.config.Disks {
		if err := h.place(d.Path, diskName(i), d.ReadOnly); err != nil {
			return nil, fmt.Errorf("place disk %q: %w", d.Path, err)
		}
	}
	journal, hold, err := makeLog(h)
	if err != nil {
		return nil, err
	}
	handle, err := s.exec(h, p)
	if err != nil {
		journal.close()
		hold.Close()
		return nil, err
	}
	mach := newMachine(s.config.Dir, h, handle, journal, sync.OnceFunc(func() { hold.Close() }))
	go mach.watch()
	return mach, nil
}

func (s *start) exec(h home, p programs) (*process.Handle, error) {
	// Firecracker's user need not be able to walk to its home.
	dir, err := os.Open(h.Dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	cmd := s.command(h, p)
	cmd.Dir = fmt.Sprintf("/proc/self/fd/%d", dir.Fd())
	if err := s.config.Spawn(cmd); err != nil {
		return nil, fmt.Errorf("start %q: %w", cmd.Path, err)
	}
	handle, err := process.Hold(cmd.Process.Pid)
	if err != nil {
		err = errors.Join(fmt.Errorf("hold firecracker: %w", err), cmd.Process.Kill())
		_ = cmd.Wait()
		return nil, err
	}
	// The handle collects its status.
	_ = cmd.Process.Release()
	return handle, nil
}

func (s *start) command(h home, p programs) *exec.Cmd {
	var cmd *exec.Cmd
	attr := &syscall.SysProcAttr{Setsid: true} // a terminal's signals are not for it
	if h.Jailed {
		cmd = exec.Command(p.jailer, "--id", s.config.ID, "--exec-file", p.firecracker,
			"--uid", strconv.Itoa(h.UID), "--gid", strconv.Itoa(h.GID), "--chroot-base-dir", h.Top, "--")
	} else {
		cmd = exec.Command(p.firecracker, "--id", s.config.ID)
		if h.UID >= 0 {
			attr.Credential = &syscall.Credential{Uid: uint32(h.UID), Gid: uint32(h.GID), Groups: deviceGroups()}
		}
	}
	cmd.Args = append(cmd.Args, s.set.arguments()...)
	cmd.Env = []string{} // nothing of ours
	cmd.SysProcAttr = attr
	if s.config.Console != nil {
		cmd.Stdout, cmd.Stderr = s.config.Console, s.config.Console
	}
	return cmd
}

// deviceGroups returns the group that may open /dev/kvm, if there is one that
// is not root's.
func deviceGroups() []uint32 {
	var stat syscall.Stat_t
	if syscall.Stat("/dev/kvm", &stat) != nil || stat.Mode&0o060 != 0o060 || stat.Gid == 0 {
		return nil
	}
	return []uint32{stat.Gid}
}

// run makes a machine of a Firecracker that has just been started.
func (s *start) run(ctx context.Context, mach *machine) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-mach.done:
			cancel(errEnded)
		case <-ctx.Done():
		}
	}()
	if err := awaitSocket(ctx, mach.home.Dir, apiName); err != nil {
		return err
	}
	mach.letLogEnd() // it is open: that comes before the socket
	text, err := mach.client.Version(ctx)
	if err != nil {
		return err
	}
	v, err := parseVersion(text)
	if err != nil {
		return err
	}
	if err := s.setUp(ctx, s, mach.client, v); err != nil {
		return err
	}
	// It is needed seldom from now on, and Firecracker serves few.
	return mach.client.Close()
}

func configureVersion(ctx context.Context, s *start, client *api.Client, v version) error {
	if err := suits(v, s.config, s.set); err != nil {
		return err
	}
	return configure(ctx, client, s.config, s.set)
}

func loadVersion(ctx context.Context, s *start, client *api.Client, v version) error {
	if !v.has(oldest) {
		return fmt.Errorf("firecracker %s is too old: %s is needed", v.text, oldest.text)
	}
	return load(ctx, client, v, s.config)
}
