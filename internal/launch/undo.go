package launch

import (
	"context"
	"time"
)

const (
	// stopTimeout bounds one attempt to undo a start that failed.
	stopTimeout = 20 * time.Second
	// undoAgain is the time between attempts.
	undoAgain = time.Second
)

// discard undoes a start that failed, without its cancellation. What made the
// start fail, no more open files for instance, may stand against its undoing
// too: then that is tried again in the background, until the launcher is
// closed.
func (i *instance) discard(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	err := i.undo(ctx)
	if err == nil {
		return
	}
	i.launcher.opts.Logger.Warn("cannot undo a failed start yet", "instance", i.record.ID,
		"function", i.record.Function.String(), "err", err)
	i.launcher.undoing.Go(func() { i.undoLater(ctx) })
}

func (i *instance) undo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	return i.Stop(ctx)
}

func (i *instance) undoLater(ctx context.Context) {
	ticker := time.NewTicker(undoAgain)
	defer ticker.Stop()
	for closing := false; !closing; {
		select {
		case <-ticker.C:
		case <-i.launcher.closing:
			closing = true
		}
		err := i.undo(ctx)
		if err == nil {
			return
		}
		if closing {
			i.launcher.opts.Logger.Error("cannot undo a failed start; the next start of the platform will",
				"instance", i.record.ID, "function", i.record.Function.String(), "err", err)
		}
	}
}
