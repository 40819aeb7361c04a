package gvisor

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
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
	for pause := firstPoll; ; pause = min(pause*5/4, maxPoll) {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return i.notReady(ctx)
		}
		if i.serves(ctx) {
			return nil
		}
		timer.Reset(pause)
	}
}

func (i *instance) notReady(ctx context.Context) error {
	if i.hasEnded() {
		return faas.Errorf(faas.KindBroken, "instance %q ended before it was ready: %s", i.id, i.exit)
	}
	return fmt.Errorf("wait for instance %q to serve on port %d: %w", i.id, i.port, ctx.Err())
}

// serves tells whether the readiness condition holds now. A callback is the
// launcher's to wait for; after it, as before, the port must accept.
func (i *instance) serves(ctx context.Context) bool {
	conn, err := i.dial(ctx, true)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	if i.ready.Kind != faas.ReadyHTTP {
		return true
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+i.ready.Path, nil)
	if err != nil {
		return false
	}
	req.Close = true
	if req.Write(conn) != nil {
		return false
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode < http.StatusBadRequest
}
