package sandboxtest

import (
	"context"
	"fmt"
	"net"
	"syscall"

	"github.com/unifaas/unifaas/internal/sandbox"
)

// A fakeHandle is one driver's way to an instance of the world.
type fakeHandle struct {
	inst  *fakeInstance
	stage *stage
}

func (h *fakeHandle) ID() string { return h.inst.id }

func (h *fakeHandle) enter(step Step) Fault {
	return h.stage.enter(step, h.inst.id, h.inst.spec.Revision.Function.Ref)
}

func (h *fakeHandle) Ready(ctx context.Context) error {
	i := h.inst
	if err := i.play(ctx, h.enter(StepReady)); err != nil {
		return err
	}
	select {
	case <-i.done:
		return h.gone("be ready")
	default:
	}
	select {
	case <-i.listening:
		return nil
	case <-i.done:
		return h.gone("be ready")
	case <-ctx.Done():
		return fmt.Errorf("wait for instance %q: %w", i.id, context.Cause(ctx))
	}
}

func (h *fakeHandle) gone(what string) error {
	return fmt.Errorf("instance %q can't %s: it has ended: %s", h.inst.id, what, h.inst.exit)
}

func (h *fakeHandle) Dial(ctx context.Context) (net.Conn, error) {
	i := h.inst
	if err := i.play(ctx, h.enter(StepDial)); err != nil {
		return nil, err
	}
	select {
	case <-i.done:
		return nil, h.gone("be dialled")
	case <-i.listening:
		return i.dial(ctx)
	default:
		return nil, fmt.Errorf("dial instance %q: %w", i.id, syscall.ECONNREFUSED)
	}
}

func (h *fakeHandle) Done() <-chan struct{} { return h.inst.done }

func (h *fakeHandle) Wait() sandbox.Exit {
	<-h.inst.done
	return h.inst.exit
}

func (h *fakeHandle) Stop(ctx context.Context) error {
	if err := h.enter(StepStop).suffer(ctx); err != nil {
		return err
	}
	h.inst.end(crashed)
	h.inst.undo()
	return nil
}

// Stats tells the options' memory and, for the rest, that there is one process.
func (h *fakeHandle) Stats(context.Context) (sandbox.Stats, error) {
	select {
	case <-h.inst.done:
		return sandbox.Stats{}, h.gone("be measured")
	default:
		return sandbox.Stats{Memory: h.inst.options.Memory, Pids: 1}, nil
	}
}
