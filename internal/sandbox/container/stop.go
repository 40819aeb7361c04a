package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Stop ends the instance and undoes all it holds.
func (i *instance) Stop(ctx context.Context) error {
	return i.release(ctx)
}

// release ends the instance, if it was started, and removes what has a name.
// It may be called again after an error, and concurrently.
func (i *instance) release(ctx context.Context) error {
	i.stopMu.Lock()
	defer i.stopMu.Unlock()
	if i.stopped {
		return nil
	}
	if err := i.kill(ctx); err != nil {
		return err
	}
	var errs []error
	if i.group != nil {
		errs = append(errs, i.driver.groups.Remove(ctx, i.group))
	}
	for _, name := range []string{statusName, dialName} {
		if err := os.Remove(filepath.Join(i.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stop instance %q: %w", i.id, err)
	}
	i.driver.ids.Set(i.uids, false)
	i.setNetwork(nil)
	i.process.Close()
	if i.status != nil {
		_ = i.status.Close()
	}
	i.stopped = true
	return nil
}

// kill kills the first process of the instance's pid namespace and waits until
// it is gone. The kernel kills the others with it, and reports its end only
// when they are gone, too.
func (i *instance) kill(ctx context.Context) error {
	if i.process == nil {
		return nil
	}
	if err := i.process.Signal(unix.SIGKILL); err != nil {
		return fmt.Errorf("kill instance %q: %w", i.id, err)
	}
	ended := i.done
	if !i.watched {
		ended = make(chan struct{})
		go func() {
			i.process.Wait()
			close(ended)
		}()
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("kill instance %q: it has not ended yet: %w", i.id, ctx.Err())
	}
}
