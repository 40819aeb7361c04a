package gvisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	runsc "gvisor.dev/gvisor/runsc/boot"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/boot"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// askTimeout bounds the question whether a sandbox's function still runs.
const askTimeout = 5 * time.Second

// Recover takes an instance over, or cleans up after it and returns
// [sandbox.ErrGone].
func (d *Driver) Recover(ctx context.Context, rec sandbox.Record) (sandbox.Instance, error) {
	var st state
	if len(rec.State) > 0 {
		if err := json.Unmarshal(rec.State, &st); err != nil {
			return nil, fmt.Errorf("recover instance %q: its record is broken: %w", rec.ID, err)
		}
	}
	if !boot.IsCurrent(rec.BootID) {
		// Its process and its cgroup ended with that boot; their names may
		// mean others by now.
		st = state{}
	}
	rev := rec.Revision
	if rev == nil {
		rev = &faas.Revision{}
	}
	i := newInstance(d, rec.ID, rec.Dir, rev)
	i.memory = st.Memory
	if st.Cgroup != "" {
		group, err := d.groups.Open(st.Cgroup)
		if err != nil {
			return nil, fmt.Errorf("recover instance %q: %w", rec.ID, err)
		}
		i.group = group
	}
	if st.Pid != 0 {
		i.hold(st)
	}
	// One that was started with the other network can't be dialled.
	reachable := st.HostNetwork == d.options.HostNetwork
	if reachable && i.pidfd != nil && rec.Revision != nil && i.runs(ctx) && i.enterNetwork() == nil {
		i.watch()
		return i, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := i.release(ctx); err != nil {
		return nil, err
	}
	return nil, sandbox.ErrGone
}

// hold takes hold of the recorded process if it is still that one. The check
// comes after the pidfd: from then on the number can't change hands unseen.
func (i *instance) hold(st state) {
	fd, err := unix.PidfdOpen(st.Pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return
	}
	started, err := startTime(st.Pid)
	if err != nil || started != st.Started {
		_ = unix.Close(fd)
		return
	}
	i.pid, i.pidfd = st.Pid, os.NewFile(uintptr(fd), "pidfd")
}

// runs asks the sandbox whether its function runs. A start that was cut off
// leaves a sandbox that answers no, or not at all.
func (i *instance) runs(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var s runsc.ContainerRuntimeState
	err := i.control.call(ctx, runsc.ContMgrContainerRuntimeState, i.id, &s)
	return err == nil && s == runsc.RuntimeStateRunning
}

// Sweep removes what carries this node's name but belongs to no instance of
// known: remains of a platform whose records are lost. It is for start-up,
// before instances are started.
func (d *Driver) Sweep(ctx context.Context, known map[string]bool) error {
	return errors.Join(d.sweepProcesses(ctx, known), d.groups.Sweep(ctx, known), d.images.sweep(), sweepProbes(d.host.RunDir))
}

// sweepProcesses kills sandboxes of this node that have no cgroup to find
// them by.
func (d *Driver) sweepProcesses(ctx context.Context, known map[string]bool) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		id := sandboxID(pid)
		if strings.HasPrefix(id, d.host.Node+"-") && !known[id] {
			errs = append(errs, d.sweepProcess(ctx, pid, id))
		}
	}
	return errors.Join(errs...)
}

func (d *Driver) sweepProcess(ctx context.Context, pid int, id string) error {
	started, err := startTime(pid)
	if err != nil {
		return nil // it has just ended
	}
	i := newInstance(d, id, "", &faas.Revision{})
	if i.hold(state{Pid: pid, Started: started}); i.pidfd == nil || sandboxID(pid) != id {
		return nil
	}
	defer func() { _ = i.pidfd.Close() }()
	return i.kill(ctx)
}

// sweepProbes removes the folders of probes that were cut off.
func sweepProbes(runDir string) error {
	stale, err := filepath.Glob(filepath.Join(runDir, probeDirs))
	for _, dir := range stale {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// sweep removes images that were being written when the platform died.
func (s imageStore) sweep() error {
	stale, err := filepath.Glob(filepath.Join(s.dir, temporary))
	for _, path := range stale {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}
