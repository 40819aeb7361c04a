package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/logs"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// stopTimeout bounds the undoing of a start that failed.
const stopTimeout = 20 * time.Second

// instance is a driver's instance together with its folder, record and log.
type instance struct {
	sandbox.Instance // nil until the driver has started it
	launcher         *Launcher
	output           *logs.Stream

	mu      sync.Mutex
	record  sandbox.Record
	cleared bool // folder and log are gone
}

func (i *instance) openOutput() error {
	var err error
	i.output, err = i.launcher.opts.Logs.Open(
		i.record.Function.String(), i.record.ID, filepath.Join(i.record.Dir, outputFIFO))
	return err
}

func (i *instance) recordState(state any) error {
	raw, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("encode state of %q: %w", i.record.ID, err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.record.State = raw
	return i.launcher.records.write(i.record)
}

// Stop stops the instance and removes its folder. The log stays.
func (i *instance) Stop(ctx context.Context) error {
	if i.Instance != nil {
		if err := i.Instance.Stop(ctx); err != nil {
			return err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.cleared {
		return nil
	}
	i.cleared = true
	// The record goes with the folder, last: as long as anything is left, so
	// is the record.
	err := errors.Join(i.output.Close(), os.RemoveAll(i.record.Dir))
	if err != nil {
		return fmt.Errorf("clear instance %q: %w", i.record.ID, err)
	}
	return nil
}

// discard undoes a start that failed, without its cancellation.
func (i *instance) discard(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := i.Stop(ctx); err != nil {
		i.launcher.opts.Logger.Error("cannot undo a failed start; the next start of the platform will",
			"instance", i.record.ID, "function", i.record.Function.String(), "err", err)
	}
}

// Stats measures the instance when its driver can.
func (i *instance) Stats(ctx context.Context) (sandbox.Stats, error) {
	if s, ok := i.Instance.(sandbox.Statser); ok {
		return s.Stats(ctx)
	}
	return sandbox.Stats{}, errors.ErrUnsupported
}

// startError is what a failed Start looks like to whoever asked for it.
func (i *instance) startError(ctx context.Context, err error) error {
	ref := i.record.Function
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return faas.Errorf(faas.KindCanceled, "start of function %q was given up", ref)
	case ctx.Err() != nil:
		return i.failed(faas.Errorf(faas.KindTimeout, "function %q: its sandbox %q did not start in time (start-timeout %s)",
			ref, i.record.Sandbox, i.record.Revision.Function.StartTimeout))
	case faas.KindOf(err) == faas.KindInternal:
		return i.failed(faas.Errorf(faas.KindBroken, "function %q: sandbox %q failed to start: %w", ref, i.record.Sandbox, err))
	default:
		return i.failed(err)
	}
}

// readyError is what an instance that started but does not serve looks like.
func (i *instance) readyError(ctx context.Context, err error) error {
	fn := &i.record.Revision.Function
	select {
	case <-i.Done():
		exit := i.Wait()
		return i.failed(faas.Errorf(faas.KindBroken, "function %q ended before it served on port %d: %s", fn.Ref, fn.Port, exit))
	default:
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return faas.Errorf(faas.KindCanceled, "start of function %q was given up", fn.Ref)
	case ctx.Err() != nil:
		return i.failed(faas.Errorf(faas.KindTimeout, "function %q did not serve on port %d within %s (start-timeout)",
			fn.Ref, fn.Port, fn.StartTimeout))
	default:
		return i.failed(faas.Errorf(faas.KindBroken, "function %q is not ready: %w", fn.Ref, err))
	}
}

// failed attaches the instance's last output to err.
func (i *instance) failed(err error) error {
	i.output.Settle()
	return &outputError{err, i.record.ID, i.output.Tail()}
}

// outputError is an error with the last output of the instance concerned.
type outputError struct {
	error
	instance string
	tail     []string
}

func (e *outputError) Unwrap() error { return e.error }

// Output returns the last output of the instance that the error is about, for
// people who may see it: never for a response.
func (e *outputError) Output() string { return strings.Join(e.tail, "\n") }

// Tail returns the last lines that the instance printed.
func (i *instance) Tail() []string { return i.output.Tail() }
