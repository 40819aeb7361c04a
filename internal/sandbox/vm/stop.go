package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/unifaas/unifaas/internal/host/process"
)

// Stop ends the machine and undoes all it holds.
func (i *instance) Stop(ctx context.Context) error { return i.release(ctx) }

// release ends everything of the machine and removes what has a name. It may be
// called again after an error, and concurrently.
func (i *instance) release(ctx context.Context) error {
	i.stopMu.Lock()
	defer i.stopMu.Unlock()
	if i.stopped {
		return nil
	}
	if err := i.undo(ctx); err != nil {
		return fmt.Errorf("stop instance %q: %w", i.id, err)
	}
	i.stopped = true
	return nil
}

func (i *instance) undo(ctx context.Context) error {
	if i.machine != nil {
		if err := i.machine.Kill(ctx); err != nil {
			return err
		}
	}
	if i.group != nil {
		if err := i.driver.groups.Remove(ctx, i.group); err != nil {
			return err
		}
	}
	i.conns.sever()
	errs := []error{i.silenceAll()}
	if i.network != nil {
		i.network.Close()
	}
	if i.machine != nil {
		errs = append(errs, i.machine.Close())
	} else if i.monitor != nil {
		errs = append(errs, i.forget(ctx))
	}
	if i.dir != "" {
		errs = append(errs, os.RemoveAll(i.dir))
	}
	errs = append(errs, i.driver.disks.release(i.id+"."))
	if i.uid != 0 {
		i.driver.machines.users.Set(uint32(i.uid), false)
	}
	return errors.Join(errs...)
}

// forget has the monitor remove what it keeps outside the machine's folder of one
// that an earlier run of the platform has started and that nobody holds. Its
// process has gone with its group.
func (i *instance) forget(ctx context.Context) error {
	left, err := i.monitor.Recover(ctx, i.dir, process.Identity{})
	if left != nil {
		err = errors.Join(err, left.Close())
	}
	if errors.Is(err, process.ErrGone) {
		return nil
	}
	return err
}

// silenceAll stops listening to the guest. It may be called again.
func (i *instance) silenceAll() error {
	var errs []error
	if i.output != nil {
		// Nobody may be reading what the guest has still to say.
		err := i.output.SetWriteDeadline(time.Now().Add(lastWords))
		// A file takes what it is given.
		if !errors.Is(err, os.ErrNoDeadline) && !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if i.agent != nil {
		errs = append(errs, i.agent.Close())
	}
	errs = append(errs, i.console.close())
	if i.output != nil {
		errs = append(errs, unlessClosed(i.output.Close()))
	}
	if i.calls != nil {
		i.call.Cancel()
		errs = append(errs, i.calls.Close())
	}
	return errors.Join(errs...)
}

// unlessClosed is the error of closing something that may be closed already.
func unlessClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
