package gvisor

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

// release ends the sandbox process, if it was started, and removes what has a
// name. It may be called again after an error, and concurrently.
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
	for _, name := range []string{socketName, tunnelName} {
		if err := os.Remove(filepath.Join(i.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stop instance %q: %w", i.id, err)
	}
	i.netns.Close()
	for _, f := range []*os.File{i.pidfd, i.diagnostics} {
		if f != nil {
			_ = f.Close()
		}
	}
	i.stopped = true
	return nil
}

// kill kills the sandbox process and waits until it is gone. It is the first
// process of its pid namespace, so that the kernel kills the others, and
// reports its end only when they are gone, too.
func (i *instance) kill(ctx context.Context) error {
	if i.pidfd == nil {
		return nil
	}
	if err := signal(i.pidfd, unix.SIGKILL); err != nil {
		return fmt.Errorf("kill instance %q: %w", i.id, err)
	}
	ended := i.done
	if !i.watched {
		ended = make(chan struct{})
		go func() {
			i.awaitProcess()
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

// signal sends sig to a pidfd's process. One that has ended is no error.
func signal(pidfd *os.File, sig unix.Signal) error {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) {
		sent = unix.PidfdSendSignal(int(fd), sig, nil, 0)
	})
	if errors.Is(sent, unix.ESRCH) {
		sent = nil
	}
	return errors.Join(err, sent)
}
