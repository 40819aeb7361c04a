package gvisor

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

// Ready returns once the function serves. The sandbox tells of the moment at
// which it listens; only what may come after that is polled, at intervals far
// below what a start takes.
func (i *instance) Ready(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A call that waits for the sandbox must end with it.
	go func() {
		select {
		case <-i.done:
			cancel()
		case <-ctx.Done():
		}
	}()
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

func (i *instance) notReady(ctx context.Context, last error) error {
	if i.hasEnded() {
		if short := i.shortage(nil); short != nil {
			return faas.Errorf(faas.KindUnavailable, "instance %q ended before it was ready: %s: %w", i.id, i.exit, short)
		}
		return faas.Errorf(faas.KindBroken, "instance %q ended before it was ready: %s", i.id, i.exit)
	}
	err := fmt.Errorf("wait for instance %q to serve on port %d: %w", i.id, i.port, ctx.Err())
	if last != nil && !errors.Is(last, ctx.Err()) {
		err = fmt.Errorf("%w (last: %w)", err, last)
	}
	return err
}

// serves returns nil if the readiness condition holds now. A callback is the
// launcher's to wait for; after it, as before, the port must accept.
func (i *instance) serves(ctx context.Context) error {
	conn, err := i.dial(ctx, true)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if i.ready.Kind != faas.ReadyHTTP {
		return nil
	}
	return ready.Ask(ctx, conn, i.ready.Path)
}
