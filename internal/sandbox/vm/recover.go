package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/boot"
	"github.com/unifaas/unifaas/internal/host/process"
	"github.com/unifaas/unifaas/internal/host/tapnet"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// hearAgain is how long a guest whose platform has died takes at most to be
// heard again: it dials once a second.
const hearAgain = 3 * time.Second

// Recover takes a machine over, or cleans up after it and returns
// [sandbox.ErrGone].
func (d *Driver) Recover(ctx context.Context, rec sandbox.Record) (sandbox.Instance, error) {
	var st state
	if len(rec.State) > 0 {
		if err := json.Unmarshal(rec.State, &st); err != nil {
			return nil, fmt.Errorf("recover instance %q: its record is broken: %w", rec.ID, err)
		}
	}
	if !boot.IsCurrent(rec.BootID) {
		// All of it ended with that boot; the names may mean others by now.
		st = state{}
	}
	i, err := d.remains(ctx, rec, st)
	if err != nil {
		return nil, fmt.Errorf("recover instance %q: %w", rec.ID, err)
	}
	if i.machine != nil && rec.Revision != nil {
		if err = i.takeOver(ctx, st, rec); err == nil {
			return i, nil
		}
		d.machines.warn(rec.ID, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := i.release(ctx); err != nil {
		return nil, err
	}
	return nil, sandbox.ErrGone
}

// remains puts together what a record names and what there still is of it.
func (d *Driver) remains(ctx context.Context, rec sandbox.Record, st state) (*instance, error) {
	i := &instance{driver: d, id: rec.ID, fn: &faas.Function{}, memory: st.Memory, uid: st.UID, byVsock: st.Vsock}
	if rec.Revision != nil {
		i.fn = &rec.Revision.Function
	}
	if rec.Dir != "" {
		i.dir = filepath.Join(rec.Dir, machineDir)
	}
	if st.UID != 0 {
		d.machines.users.Set(uint32(st.UID), true)
	}
	if st.Cgroup == "" {
		return i, nil
	}
	var err error
	if i.group, err = d.groups.Open(st.Cgroup); err != nil {
		return nil, err
	}
	monitor := d.machines.named(st.Monitor)
	if monitor == nil {
		return i, nil // the group finds what there may be
	}
	i.monitor = monitor
	id, ok := st.identity()
	if !ok {
		return i, nil // as before; what else there is, forget removes
	}
	i.machine, err = monitor.Recover(ctx, i.dir, id)
	if errors.Is(err, process.ErrGone) {
		err, i.machine = nil, nil
	}
	if err != nil {
		// It can't be talked to, and goes with its group.
		d.machines.warn(rec.ID, err)
		i.machine = nil
	}
	return i, nil
}

// takeOver listens to the guest again and waits until it is heard.
func (i *instance) takeOver(ctx context.Context, st state, rec sandbox.Record) error {
	var err error
	if i.network, err = tapnet.OfProcess(st.Pid, tapnet.DefaultPlan()); err != nil {
		return err
	}
	if st.Agent {
		if err := i.hear(rec.Output); err != nil {
			return err
		}
		if i.console, err = newConsole(i.dir); err != nil {
			return err
		}
	}
	i.watch()
	if i.agent == nil {
		return nil
	}
	select {
	case <-i.agent.Ready():
		return nil
	case <-i.done:
		return i.ended()
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(hearAgain):
		return errors.New("the guest was not heard again")
	}
}

// Sweep removes what carries this node's name but belongs to no instance of
// known: remains of a platform whose records are lost. It is for start-up,
// before instances are started.
func (d *Driver) Sweep(ctx context.Context, known map[string]bool) error {
	return errors.Join(d.groups.Sweep(ctx, known), d.disks.sweep(func(name string) bool {
		id, _, _ := strings.Cut(name, ".")
		return known[id]
	}))
}
