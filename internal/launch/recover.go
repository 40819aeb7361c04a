package launch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// A Recovered is an instance of an earlier run that still serves.
type Recovered struct {
	Revision *faas.Revision
	Instance sandbox.Instance
}

// sweeper is a driver that can find what carries the platform's node id but
// has no record.
type sweeper interface {
	Sweep(ctx context.Context, known map[string]bool) error
}

// Recover goes through the records of an earlier run: each instance is taken
// over or what is left of it is cleaned up. It must be called once, before
// the first Launch. An instance that can neither be taken over nor cleaned
// up keeps its record and is part of the error; the others are returned.
func (l *Launcher) Recover(ctx context.Context) ([]Recovered, error) {
	recs, err := l.records.read()
	var (
		wg        sync.WaitGroup
		mu        sync.Mutex
		recovered []Recovered
		errs      = []error{err}
		known     = map[string]bool{}
		slots     = make(chan struct{}, recoverParallelism)
	)
	for _, rec := range recs {
		known[rec.ID] = true
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			inst, err := l.recoverOne(ctx, rec)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				errs = append(errs, err)
			case inst != nil:
				recovered = append(recovered, Recovered{rec.Revision, inst})
			}
		})
	}
	wg.Wait()
	for _, name := range l.order {
		if s, ok := l.drivers[name].Driver.(sweeper); ok {
			if err := s.Sweep(ctx, known); err != nil {
				errs = append(errs, fmt.Errorf("sweep leftovers of sandbox %q: %w", name, err))
			}
		}
	}
	return recovered, errors.Join(errs...)
}

const recoverParallelism = 8

// recoverOne returns nil, nil for an instance that is gone.
func (l *Launcher) recoverOne(ctx context.Context, rec sandbox.Record) (sandbox.Instance, error) {
	d, ok := l.drivers[rec.Sandbox]
	if !ok {
		return nil, fmt.Errorf("recover instance %q: sandbox %q is not in this build; run the version that started it once to clean up", rec.ID, rec.Sandbox)
	}
	inst := &instance{launcher: l, driver: d, record: rec}
	if err := inst.openOutput(); err != nil {
		// It would stand still as soon as its FIFO is full.
		if failed := giveUp(ctx, d, rec); failed != nil {
			return nil, errors.Join(err, failed)
		}
		return nil, errors.Join(err, os.RemoveAll(rec.Dir))
	}
	output, err := inst.output.Writer()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("recover instance %q: %w", rec.ID, err), inst.output.Close())
	}
	defer func() { _ = output.Close() }()
	rec.Output = output
	running, err := d.Recover(ctx, inBox(rec))
	switch {
	case errors.Is(err, sandbox.ErrGone):
		return nil, errors.Join(inst.output.Close(), os.RemoveAll(rec.Dir))
	case err != nil:
		return nil, errors.Join(fmt.Errorf("recover instance %q: %w", rec.ID, err), inst.output.Close())
	}
	inst.Instance = running
	return inst, nil
}

// inBox returns rec as the driver sees it, with the folder of the Spec that
// the instance was started with.
func inBox(rec sandbox.Record) sandbox.Record {
	rec.Dir = filepath.Join(rec.Dir, boxDir)
	return rec
}

// giveUp ends whatever a record tells of.
func giveUp(ctx context.Context, d sandbox.Driver, rec sandbox.Record) error {
	running, err := d.Recover(ctx, inBox(rec))
	switch {
	case errors.Is(err, sandbox.ErrGone):
		return nil
	case err != nil:
		return fmt.Errorf("clean up after instance %q: %w", rec.ID, err)
	}
	return running.Stop(ctx)
}
