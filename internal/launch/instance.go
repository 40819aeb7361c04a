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

// instance is a driver's instance together with its folder, record and log.
type instance struct {
	sandbox.Instance // nil until the driver has started it
	launcher         *Launcher
	driver           *driver
	output           *logs.Stream
	phases           []sandbox.Phase // of the start, once it has succeeded

	mu      sync.Mutex
	record  sandbox.Record
	closed  bool // the log is
	cleared bool // the folder is gone
}

// Phases tells how the start went. See [sandbox.Traced].
func (i *instance) Phases() []sandbox.Phase { return i.phases }

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

// create makes the instance's folder, record and output.
func (i *instance) create() error {
	if err := i.launcher.records.create(i.record); err != nil {
		return err
	}
	return i.openOutput()
}

// Stop stops the instance and removes its folder. The log stays.
func (i *instance) Stop(ctx context.Context) error {
	if err := i.release(ctx); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.cleared {
		return nil
	}
	var err error
	if i.output != nil && !i.closed {
		i.closed = true
		err = i.output.Close()
	}
	// The record goes with the folder, last: as long as anything is left, so
	// is the record.
	if err = errors.Join(err, os.RemoveAll(i.record.Dir)); err != nil {
		return fmt.Errorf("clear instance %q: %w", i.record.ID, err)
	}
	i.cleared = true
	return nil
}

// release undoes what the driver did. A driver whose start failed has undone
// it itself, if it could: what kept it from starting may have kept it from
// that, too, so it is asked again, by the record.
func (i *instance) release(ctx context.Context) error {
	if i.Instance != nil {
		return i.Instance.Stop(ctx)
	}
	i.mu.Lock()
	rec := i.record
	i.mu.Unlock()
	if len(rec.State) == 0 {
		return nil // it never came to acquire anything
	}
	return giveUp(ctx, i.driver, rec)
}

// Created returns when the instance was made, by the wall clock: in an earlier
// run of the platform perhaps.
func (i *instance) Created() time.Time { return i.record.Created }

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
		if faas.KindOf(err) == faas.KindUnavailable {
			return i.failed(err) // its sandbox says that the machine is to blame
		}
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
