package runc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/host/process"
)

// Stop ends the instance and undoes all it holds.
func (i *instance) Stop(ctx context.Context) error {
	return i.release(ctx)
}

// release ends everything in the container and removes what has a name. It
// may be called again after an error, and concurrently.
func (i *instance) release(ctx context.Context) error {
	i.stopMu.Lock()
	defer i.stopMu.Unlock()
	if i.stopped {
		return nil
	}
	if err := i.undo(ctx); err != nil {
		return fmt.Errorf("stop instance %q: %w", i.id, err)
	}
	i.netns.Close()
	if i.process != nil {
		i.process.Close()
	}
	i.stopped = true
	return nil
}

func (i *instance) undo(ctx context.Context) error {
	if err := i.kill(ctx); err != nil {
		return err
	}
	if err := i.removeGroup(ctx); err != nil {
		return err
	}
	return i.forget(ctx)
}

// kill kills the function, if its process is known, and waits until it is
// gone. It is the first process of its pid namespace, so that the kernel kills
// the others, and reports its end only when they are gone, too.
func (i *instance) kill(ctx context.Context) error {
	if i.process == nil {
		return nil
	}
	if err := i.process.Signal(unix.SIGKILL); err != nil {
		return fmt.Errorf("kill process %d: %w", i.process.Pid, err)
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
		return fmt.Errorf("process %d has not ended yet: %w", i.process.Pid, ctx.Err())
	}
}

// removeGroup kills whatever is still in the group and removes it. What a
// runtime that was cut off has left in there may have become our child.
func (i *instance) removeGroup(ctx context.Context) error {
	if i.group == nil {
		return nil
	}
	left, err := i.group.Processes()
	if err != nil {
		return err
	}
	if err := i.driver.groups.Remove(ctx, i.group); err != nil {
		return err
	}
	for _, pid := range left {
		process.Reap(pid)
	}
	return nil
}

// forget removes the runtime's state, the groups that it made in hierarchies
// of its own, and our files.
//
// runc keeps a folder and those groups and nothing else, so that both are
// removed here, which takes a fiftieth of an execution. Another runtime may
// keep more and is asked.
func (i *instance) forget(ctx context.Context) error {
	if r := i.runtime; r != nil && r.knows(i.id) {
		if !r.isRunc() {
			if err := r.delete(ctx, i.id); err != nil {
				return err
			}
			// One that detaches itself (crun) leaves a process of its own behind,
			// in a session that nobody knows.
			if err := process.ReapOrphans(); err != nil {
				return err
			}
		}
		if err := removeState(filepath.Join(r.root, i.id)); err != nil {
			return err
		}
	}
	if i.runtime != nil {
		if err := i.driver.removeRuntimeGroups(i.id); err != nil {
			return err
		}
	}
	var errs []error
	for _, name := range []string{configFile, pidFile, logFile} {
		if err := os.Remove(filepath.Join(i.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

const (
	removeTries = 10
	removePause = 10 * time.Millisecond
)

// removeState removes a runtime's folder of one container. What is mounted in
// there, left by an execution that was killed, is unmounted first.
func removeState(dir string) error {
	var err error
	for range removeTries {
		if err = os.RemoveAll(dir); !errors.Is(err, unix.EBUSY) {
			return err
		}
		if unmountErr := unmountBelow(dir); unmountErr != nil {
			return errors.Join(err, unmountErr)
		}
		time.Sleep(removePause)
	}
	return err
}
