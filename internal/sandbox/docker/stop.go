package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

const (
	removePause    = 20 * time.Millisecond // between looks at a removal, doubled
	maxRemovePause = 500 * time.Millisecond
	// removePatience is how long a removal is tried again that the Engine
	// refuses: it may be starting, or a mount may be busy for a moment.
	removePatience = 3 * time.Second
)

// Stop removes the container and undoes all else.
func (i *instance) Stop(ctx context.Context) error { return i.release(ctx) }

// release may be called again after an error, and concurrently.
func (i *instance) release(ctx context.Context) error {
	i.stopMu.Lock()
	defer i.stopMu.Unlock()
	if i.stopped {
		return nil
	}
	i.mu.Lock()
	i.stopping = true
	i.mu.Unlock()
	i.output.Load().hurry()
	if err := i.driver.engine.remove(ctx, i.id); err != nil {
		return fmt.Errorf("stop instance %q: %w", i.id, err)
	}
	i.stoppedByUs()
	select {
	case <-i.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	i.driver.watch.remove(i)
	i.output.Load().close()
	i.netns.Close()
	i.called.Cancel()
	i.stopped = true
	return nil
}

// remove kills and removes the container called name, if there is one, and
// returns when it is gone.
func (e *engine) remove(ctx context.Context, name string) error {
	begin, pause := time.Now(), removePause
	for {
		_, err := e.ContainerRemove(ctx, name, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		switch {
		case err == nil, errdefs.IsNotFound(err):
			return nil
		case errdefs.IsConflict(err): // somebody else is removing it
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), time.Since(begin) > removePatience:
			return e.explain(err, fmt.Sprintf("remove container %q", name))
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, maxRemovePause)
		case <-ctx.Done():
			return e.explain(errors.Join(ctx.Err(), err), fmt.Sprintf("remove container %q", name))
		}
	}
}
