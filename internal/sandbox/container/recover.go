package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/boot"
	"github.com/unifaas/unifaas/internal/host/process"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// Recover takes an instance over, or cleans up after it and returns
// [sandbox.ErrGone].
func (d *Driver) Recover(ctx context.Context, rec sandbox.Record) (sandbox.Instance, error) {
	i, err := d.recall(rec)
	if err != nil {
		return nil, fmt.Errorf("recover instance %q: %w", rec.ID, err)
	}
	if rec.Revision != nil && i.takeOver() == nil {
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

// recall makes an instance of what is recorded, whatever is left of it.
func (d *Driver) recall(rec sandbox.Record) (*instance, error) {
	var st state
	var err error
	if len(rec.State) > 0 {
		if err = json.Unmarshal(rec.State, &st); err != nil {
			return nil, fmt.Errorf("its record is broken: %w", err)
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
	i.uids = st.UIDs
	d.ids.Set(st.UIDs, true)
	if st.Cgroup != "" {
		if i.group, err = d.groups.Open(st.Cgroup); err != nil {
			return nil, err
		}
	}
	if st.Pid != 0 {
		i.process, err = process.HoldAgain(process.Identity{Pid: st.Pid, Started: st.Started})
	}
	if err != nil && !errors.Is(err, process.ErrGone) {
		return nil, err
	}
	return i, nil
}

// takeOver gets hold of what an instance that runs is used by. One that was left
// at its gate ends by itself.
func (i *instance) takeOver() error {
	if i.process == nil {
		return errors.New("it has ended")
	}
	var err error
	if i.status, err = os.Open(filepath.Join(i.dir, statusName)); err != nil {
		return err
	}
	if err := i.enterNetwork(); err != nil {
		return err
	}
	if i.group == nil {
		return nil
	}
	// The platform may have been killed just before.
	return i.group.LimitCPU(i.limits.CPUs)
}

// Sweep removes what carries this node's name but belongs to no instance of
// known: remains of a platform whose records are lost. It is for start-up,
// before instances are started.
func (d *Driver) Sweep(ctx context.Context, known map[string]bool) error {
	return errors.Join(d.sweepProcesses(ctx, known), d.groups.Sweep(ctx, known), sweepProbes(d.host.RunDir))
}

// sweepProcesses kills instances of this node that have no cgroup to find
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
		id := instanceOf(pid)
		if strings.HasPrefix(id, d.host.Node+"-") && !known[id] {
			errs = append(errs, d.sweepProcess(ctx, pid, id))
		}
	}
	return errors.Join(errs...)
}

func (d *Driver) sweepProcess(ctx context.Context, pid int, id string) error {
	held, err := process.Hold(pid)
	if errors.Is(err, process.ErrGone) {
		return nil // it has just ended
	}
	if err != nil {
		return err
	}
	defer held.Close()
	if instanceOf(pid) != id {
		return nil
	}
	i := newInstance(d, id, "", &faas.Revision{})
	i.process = held
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
