package runc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox/ready"
)

const (
	firstPoll = 200 * time.Microsecond
	maxPoll   = 4 * time.Millisecond
)

// Dial opens a connection to the function's port, by a socket made in its
// network namespace.
func (i *instance) Dial(ctx context.Context) (net.Conn, error) {
	if i.hasEnded() {
		return nil, i.ended()
	}
	if i.netns == nil { // it ended before it could be opened
		<-i.done
		return nil, i.ended()
	}
	conn, err := i.netns.Dial(ctx, i.port)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case i.hasEnded():
		return nil, i.ended()
	default:
		return nil, faas.Errorf(faas.KindBroken, "connect to port %d of instance %q: %w", i.port, i.id, err)
	}
}

func (i *instance) ended() error {
	return faas.Errorf(faas.KindBroken, "instance %q has ended: %s", i.id, i.exit)
}

func (i *instance) hasEnded() bool {
	select {
	case <-i.done:
		return true
	default:
		return false
	}
}

// Ready returns once the function serves. It tries at intervals far below what
// a start takes.
func (i *instance) Ready(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last error
	for pause := firstPoll; ; pause = min(pause*5/4, maxPoll) {
		select {
		case <-timer.C:
		case <-i.done:
			return i.notReady(ctx, last)
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
	conn, err := i.Dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if i.ready.Kind != faas.ReadyHTTP {
		return nil
	}
	// The answer must not be waited for longer than the function lives.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-i.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ready.Ask(ctx, conn, i.ready.Path)
}
