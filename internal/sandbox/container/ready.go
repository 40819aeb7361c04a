package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox/ready"
)

const (
	firstPoll = 200 * time.Microsecond
	maxPoll   = 5 * time.Millisecond
)

// Ready returns once the function serves. The kernel tells nobody of a
// listen(2), so that the port is tried at intervals that are a twentieth of
// what the start has taken so far: on average half of that is added.
func (i *instance) Ready(ctx context.Context) error {
	begin := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	probe := &probe{instance: i}
	defer probe.close()
	var last error
	for {
		select {
		case <-timer.C:
		case <-i.done:
			return faas.Errorf(faas.KindBroken, "instance %q ended before it was ready: %s", i.id, i.exit)
		case <-ctx.Done():
			return i.notReady(ctx, last)
		}
		if last = probe.try(ctx); last == nil {
			return nil
		}
		timer.Reset(min(max(firstPoll, time.Since(begin)/20), maxPoll))
	}
}

func (i *instance) notReady(ctx context.Context, last error) error {
	err := fmt.Errorf("wait for instance %q to serve on port %d: %w", i.id, i.port, ctx.Err())
	if last != nil && !errors.Is(last, ctx.Err()) {
		err = fmt.Errorf("%w (last: %w)", err, last)
	}
	return err
}

// A probe tries a port with one socket: one that was refused can try again.
type probe struct {
	instance *instance
	socket   *os.File
}

func (p *probe) close() {
	if p.socket != nil {
		_ = p.socket.Close()
	}
}

// try returns nil if the readiness condition holds now. A callback is the
// platform's to wait for; after it, as before, the port must accept.
func (p *probe) try(ctx context.Context) error {
	if p.socket == nil {
		var err error
		if p.socket, err = p.instance.socket(); err != nil {
			return err
		}
	}
	if err := knock(p.socket, p.instance.port); err != nil {
		return err
	}
	if p.instance.ready.Kind != faas.ReadyHTTP {
		return nil
	}
	return p.instance.get(ctx, p.instance.ready.Path)
}

// knock returns nil if the port accepts. On a loopback device the answer is
// there when connect(2) returns; where it is not, because the function's queue
// is full, the next knock finds it.
func knock(socket *os.File, port uint16) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Control(func(fd uintptr) {
		for range 2 {
			result = unix.Connect(int(fd), &unix.SockaddrInet4{Port: int(port), Addr: [4]byte{127, 0, 0, 1}})
			if errors.Is(result, unix.EISCONN) {
				result = nil
			}
			if !errors.Is(result, unix.EINPROGRESS) {
				return
			}
		}
	})
	return errors.Join(err, result)
}

// get asks for path once and wants a status below 400.
func (i *instance) get(ctx context.Context, path string) error {
	conn, err := i.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return ready.Ask(ctx, conn, path)
}
