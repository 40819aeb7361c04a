package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
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

// silenceAll stops listening to the guest.
func (i *instance) silenceAll() error {
	var errs []error
	if i.output != nil {
		// Nobody may be reading what the guest has still to say.
		err := i.output.SetWriteDeadline(time.Now().Add(lastWords))
		if !errors.Is(err, os.ErrNoDeadline) { // a file, which takes what it is given
			errs = append(errs, err)
		}
	}
	if i.agent != nil {
		errs = append(errs, i.agent.Close())
	}
	errs = append(errs, i.console.close())
	if i.output != nil {
		errs = append(errs, i.output.Close())
	}
	if i.calls != nil {
		i.call.Cancel()
		errs = append(errs, i.calls.Close())
	}
	return errors.Join(errs...)
}
