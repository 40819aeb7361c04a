package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// Recover takes an instance over, or removes its container and returns
// [sandbox.ErrGone].
func (d *Driver) Recover(ctx context.Context, rec sandbox.Record) (sandbox.Instance, error) {
	if d.broken != nil {
		return nil, d.broken
	}
	var st state
	if len(rec.State) > 0 {
		if err := json.Unmarshal(rec.State, &st); err != nil {
			return nil, fmt.Errorf("recover instance %q: its record is broken: %w", rec.ID, err)
		}
	}
	rev := rec.Revision
	if rev == nil {
		rev = &faas.Revision{}
	}
	i := newInstance(d, rec.ID, rev)
	d.watch.add(i)
	c, err := d.find(ctx, rec.ID)
	if err == nil && c.State != nil {
		i.setStarted(c.ID)
		c, err = d.find(ctx, rec.ID)
	}
	switch {
	case err != nil:
		d.watch.remove(i)
		return nil, d.engine.explain(err, fmt.Sprintf("recover instance %q", rec.ID))
	case c.State != nil && c.State.Running && rec.Revision != nil && len(rec.State) > 0:
		if err := i.takeOver(c, st, rec.Dir); err == nil {
			return i, nil
		}
	}
	if err := i.release(ctx); err != nil {
		return nil, err
	}
	if err := d.network.clear(ctx); err != nil {
		return nil, err
	}
	return nil, sandbox.ErrGone
}

// find returns the container called name, an empty one if there is none. An
// Engine that is just starting is given a moment.
func (d *Driver) find(ctx context.Context, name string) (container.InspectResponse, error) {
	for begin := time.Now(); ; {
		r, err := d.engine.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
		switch {
		case err == nil && r.Container.Config != nil && r.Container.Config.Labels[nodeLabel] == d.host.Node:
			return r.Container, nil
		case err == nil, errdefs.IsNotFound(err):
			return container.InspectResponse{}, nil
		case !away(err) || time.Since(begin) > removePatience:
			return container.InspectResponse{}, err
		}
		select {
		case <-time.After(maxRemovePause):
		case <-ctx.Done():
			return container.InspectResponse{}, errors.Join(ctx.Err(), err)
		}
	}
}

// takeOver makes i serve through a container that was started before.
func (i *instance) takeOver(c container.InspectResponse, st state, dir string) error {
	if st.Callback.IsValid() {
		server, err := i.driver.calls.at(st.Callback)
		if err != nil {
			return err
		}
		i.called, i.recovered = server.Expect(i.id, netip.Addr{}), true
	}
	if err := i.reach(c, st.Way); err != nil {
		return err
	}
	if st.Output == "" {
		return nil
	}
	i.takeOutput(st.Output, dir)
	return nil
}

// takeOutput carries the output to the FIFO at path from now on, if there is
// one still.
func (i *instance) takeOutput(path, dir string) {
	pump, err := newPump(i, path, dir)
	if err != nil {
		i.driver.host.Logger.Warn("the output of a recovered instance is lost", "instance", i.id, "err", err)
		return
	}
	i.output.Store(pump)
	pump.begin(nil)
}

// Sweep removes the containers of this node that belong to no instance of
// known. It is for start-up, before instances are started. An Engine that is
// away is asked when it is first needed.
func (d *Driver) Sweep(ctx context.Context, known map[string]bool) error {
	if d.engine == nil {
		return nil
	}
	err := d.sweep(ctx, known)
	if away(err) {
		d.late.Store(&known)
		err = nil
	}
	return err
}

// sweepLate does a sweep that could not be done at start-up.
func (d *Driver) sweepLate(ctx context.Context) error {
	known := d.late.Swap(nil)
	if known == nil {
		return nil
	}
	err := d.sweep(ctx, *known)
	if err != nil {
		d.late.Store(known)
	}
	return err
}

func (d *Driver) sweep(ctx context.Context, known map[string]bool) error {
	names, err := d.engine.containers(ctx, d.host.Node)
	if err != nil {
		return err
	}
	var errs []error
	for name := range names {
		if !known[name] && len(d.watch.named(name)) == 0 {
			errs = append(errs, d.engine.remove(ctx, name))
		}
	}
	return errors.Join(errs...)
}
