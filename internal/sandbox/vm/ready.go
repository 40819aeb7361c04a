package vm

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
	maxPoll   = 10 * time.Millisecond
	// A guest of which nothing is heard may have no network yet: what is sent to
	// it is lost, and the kernel sends it again after a second. So a connection
	// is given up early and begun anew, a little later each time, since a guest
	// on a busy host may be slow to answer, too.
	firstPatience = 20 * time.Millisecond
	maxPatience   = time.Second
)

// Ready returns once the function serves. Whoever knows says so: the agent in
// the guest, or the function by its callback. Only where there is neither is
// the port tried, and after a callback, which may come before the port is open.
func (i *instance) Ready(ctx context.Context) error {
	if err := i.heard(ctx); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last error
	patience := firstPatience
	if i.agent != nil || i.call != nil {
		patience = 0 // its network is up
	}
	for pause := firstPoll; ; pause = min(pause*5/4, maxPoll) {
		select {
		case <-timer.C:
		case <-i.done:
			return i.notReady(ctx, last)
		case <-ctx.Done():
			return i.notReady(ctx, last)
		}
		if last = i.serves(ctx, patience); last == nil {
			i.boot.tell(i.trace)
			return i.limitCPU()
		}
		patience = min(patience*33/32, maxPatience)
		timer.Reset(pause)
	}
}

// limitCPU bounds the machine from now on: its boot is the platform's work.
func (i *instance) limitCPU() error {
	if i.fn.Limits.CPUs == 0 {
		return nil
	}
	return i.group.LimitCPU(i.fn.Limits.CPUs)
}

// heard waits until the guest, or its function, has said that it is ready.
func (i *instance) heard(ctx context.Context) error {
	var said <-chan struct{}
	switch {
	case i.call != nil:
		said = i.call.Done()
	case i.agent != nil:
		said = i.agent.Ready()
	default:
		return nil
	}
	select {
	case <-said:
		return nil
	case <-i.done:
	case <-ctx.Done():
	}
	if i.agent != nil {
		i.console.tell(i.output)
	}
	return i.notReady(ctx, i.silence())
}

// silence tells what was last heard of a guest that does not become ready.
func (i *instance) silence() error {
	if i.agent == nil {
		return errors.New("its ready callback has not come")
	}
	select {
	case <-i.agent.Up():
	default:
		return errors.New("nothing was heard of the guest; its console's last lines are in the output")
	}
	if err := i.agent.Failure(); err != nil {
		return err
	}
	return fmt.Errorf("the guest runs, and its function does not listen on port %d", i.fn.Port)
}

func (i *instance) notReady(ctx context.Context, last error) error {
	if i.hasEnded() {
		return faas.Errorf(faas.KindBroken, "instance %q ended before it was ready: %s", i.id, i.exit)
	}
	err := fmt.Errorf("wait for instance %q to serve on port %d: %w", i.id, i.fn.Port, ctx.Err())
	if last != nil && !errors.Is(last, ctx.Err()) {
		err = fmt.Errorf("%w (last: %w)", err, last)
	}
	return err
}

// serves returns nil if the readiness condition holds now. patience bounds the
// making of a connection; 0 does not.
func (i *instance) serves(ctx context.Context, patience time.Duration) error {
	conn, err := i.try(ctx, patience)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if i.fn.Ready.Kind != faas.ReadyHTTP {
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
	return ready.Ask(ctx, conn, i.fn.Ready.Path)
}

// try is Dial with an end.
func (i *instance) try(ctx context.Context, patience time.Duration) (net.Conn, error) {
	if patience == 0 {
		return i.Dial(ctx)
	}
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := i.Dial(short)
	if err != nil && short.Err() != nil && ctx.Err() == nil {
		return nil, errors.New("the guest's network does not answer")
	}
	return conn, err
}
