package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox/ready"
)

const (
	firstPoll = 500 * time.Microsecond
	maxPoll   = 4 * time.Millisecond
)

// Ready returns once the function serves. It is asked at intervals far below
// what a start takes; one of the artefact's form only after it has called
// back, which it does before it listens.
func (i *instance) Ready(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A dial that waits must end with the container.
	go func() {
		select {
		case <-i.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	if i.called != nil && !i.recovered {
		select {
		case <-i.called.Done():
		case <-ctx.Done():
			return i.notReady(ctx, errNoCallback)
		}
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last error
	for pause := firstPoll; ; pause = min(pause*5/4, maxPoll) {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return i.notReady(ctx, last)
		}
		if last = i.serves(ctx); last == nil {
			return nil
		}
		timer.Reset(pause)
	}
}

var errNoCallback = errors.New("it has not called back")

func (i *instance) notReady(ctx context.Context, last error) error {
	if i.hasEnded() {
		return faas.Errorf(faas.KindBroken, "instance %q ended before it was ready: %s", i.id, i.exit)
	}
	err := fmt.Errorf("wait for instance %q to serve on port %d: %w", i.id, i.port, ctx.Err())
	if last != nil && !errors.Is(last, ctx.Err()) {
		err = fmt.Errorf("%w (last: %w)", err, last)
	}
	return err
}

// serves returns nil if the port accepts, and the page that says so, if the
// function has one, is there.
func (i *instance) serves(ctx context.Context) error {
	conn, err := i.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if i.ready.Kind != faas.ReadyHTTP {
		return nil
	}
	return ready.Ask(ctx, conn, i.ready.Path)
}
