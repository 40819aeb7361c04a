package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/unifaas/unifaas/internal/callback"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/netns"
	"github.com/unifaas/unifaas/internal/sandbox"
)

const (
	// parallelStarts bounds how many starts the Engine works on at once.
	parallelStarts = 16
	// startAttempts bounds how often a start is tried whose image, network or
	// container is removed by others on the way.
	startAttempts = 10
	// undoTimeout bounds the undoing of a start that failed.
	undoTimeout = 10 * time.Second
)

// state is what is recorded of an instance. Its container has its name.
type state struct {
	// Output is the path of its FIFO; "" when that has none.
	Output string `json:"output,omitempty"`
	// Way is how it is reached.
	Way way `json:"way"`
	// Callback is the address that it was given to call when it is ready.
	Callback netip.AddrPort `json:"callback,omitzero"`
}

// A starter is one start under way.
type starter struct {
	driver *Driver
	art    *artifact
	spec   sandbox.Spec
	state  state
	inst   *instance
	server *callback.Server // artefact's form

	output    string // path of the FIFO, in this process
	container string // Docker's ID of the last attempt's
}

// Start makes an instance. See [sandbox.Driver].
func (d *Driver) Start(ctx context.Context, art sandbox.Artifact, spec sandbox.Spec) (sandbox.Instance, error) {
	a, ok := art.(*artifact)
	if !ok {
		return nil, errNotOurs
	}
	s := &starter{driver: d, art: a, spec: spec, inst: newInstance(d, spec.ID, a.rev)}
	err := s.run(ctx)
	if err == nil {
		return s.inst, nil
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return nil, errors.Join(d.engine.explain(err, "start container"), s.inst.release(undo))
}

func (s *starter) run(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.prepare(); err != nil {
		return err
	}
	select {
	case s.driver.starts <- struct{}{}:
		defer func() { <-s.driver.starts }()
	case <-ctx.Done():
		return ctx.Err()
	}
	err := s.attempt(ctx)
	for n := 1; n < startAttempts && pruned(err); n++ {
		if err = s.again(ctx); err == nil {
			err = s.attempt(ctx)
		}
	}
	return err
}

// pruned reports whether err may come of somebody's removing what the start
// needs: it is not there, or just going. What a registry does not have is
// another matter, and has its own words.
func pruned(err error) bool {
	var told *faas.Error
	return !errors.As(err, &told) && (errdefs.IsNotFound(err) || errdefs.IsConflict(err))
}

// prepare opens what is on our side and records.
func (s *starter) prepare() error {
	var err error
	if s.output, s.state.Output, err = pathOf(s.spec.Output); err != nil {
		return fmt.Errorf("find output: %w", err)
	}
	s.state.Way = s.art.way
	if s.art.gateway.IsValid() {
		if s.server, err = s.driver.calls.on(s.art.gateway); err != nil {
			return err
		}
		s.state.Callback = s.server.Addr()
		s.inst.called = s.server.Expect(s.spec.ID, netip.Addr{})
	}
	if err := s.spec.Record(s.state); err != nil {
		return fmt.Errorf("record container: %w", err)
	}
	s.driver.watch.add(s.inst)
	return nil
}

// again makes ready for another attempt after something has gone missing: a
// prune takes what no container uses, and containers that do not run yet.
func (s *starter) again(ctx context.Context) error {
	s.inst.output.Swap(nil).close()
	if err := s.driver.engine.remove(ctx, s.spec.ID); err != nil {
		return err
	}
	if s.art.way == overBridge && s.server == nil {
		if err := s.driver.network.ensure(ctx); err != nil {
			return err
		}
	}
	return s.driver.restore(ctx, s.art)
}

// attempt makes the container and starts it: four calls, none of them
// repeated.
func (s *starter) attempt(ctx context.Context) error {
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"create", s.create},
		{"attach", s.attach},
		{"start", s.start},
		{"inspect", s.inspect},
	}
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		call, cancel := bounded(ctx)
		err := step.do(call)
		cancel()
		if err != nil {
			return err
		}
		s.spec.Phase(step.name)
	}
	return nil
}

func (s *starter) create(ctx context.Context) error {
	url := ""
	if s.server != nil {
		url = s.server.URL(s.spec.ID)
	}
	made, err := s.driver.engine.ContainerCreate(ctx, s.art.createOptions(s.driver.host.Node, s.spec.ID, s.art.current(), url))
	if err != nil && ctx.Err() != nil {
		// The Engine may still make it, after we have found nothing to remove.
		s.driver.watch.doom(s.spec.ID)
	}
	s.container = made.ID
	return err
}

func (s *starter) attach(ctx context.Context) error {
	pump, err := newPump(s.inst, s.output, s.spec.Dir)
	if err != nil {
		return err
	}
	s.inst.output.Store(pump)
	return attachError(pump.start(ctx))
}

// attachError gives the error of an attachment to a container that is gone its kind:
// the client does not, since the answer is not one of the API's.
func attachError(err error) error {
	if err != nil && strings.Contains(err.Error(), "received 404") {
		return fmt.Errorf("%w: %w", errdefs.ErrNotFound, err)
	}
	return err
}

func (s *starter) start(ctx context.Context) error {
	_, err := s.driver.engine.ContainerStart(ctx, s.spec.ID, client.ContainerStartOptions{})
	if err == nil {
		s.inst.setStarted(s.container)
	}
	return err
}

// inspect learns how the container is reached.
func (s *starter) inspect(ctx context.Context) error {
	r, err := s.driver.engine.ContainerInspect(ctx, s.spec.ID, client.ContainerInspectOptions{})
	if err != nil {
		return err
	}
	return s.inst.reach(r.Container, s.state.Way)
}

// reach finds the way into a running container.
func (i *instance) reach(c container.InspectResponse, w way) error {
	if c.State == nil || !c.State.Running {
		i.containerDied(-1, time.Now()) // before anyone told us of its end
		return nil
	}
	i.pid = c.State.Pid
	ns, err := i.enterNetwork(w)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has just ended, which is for the events to tell
	} else if err != nil {
		return fmt.Errorf("open the network namespace of container %q: %w", i.id, err)
	}
	i.netns = ns
	group, ours := i.driver.findGroup(i.pid, c.ID)
	if w == throughNamespace && !ours && isThere(i.pid) {
		return faas.Errorf(faas.KindUnavailable,
			"process %d is not of container %q: the Docker Engine has another process table than we; run it on this machine itself", i.pid, i.id)
	}
	i.group = group
	if w == throughNamespace || c.NetworkSettings == nil {
		return nil
	}
	for _, n := range c.NetworkSettings.Networks {
		if n != nil && n.IPAddress.IsValid() {
			i.addr = n.IPAddress
		}
	}
	i.called.Bind(i.addr)
	return nil
}

// enterNetwork opens the network namespace through which the port is reached,
// if that is the way in.
func (i *instance) enterNetwork(w way) (*netns.Handle, error) {
	if w != throughNamespace {
		return nil, nil
	}
	return netns.OfProcess(i.pid)
}

func isThere(pid int) bool {
	_, err := os.Stat("/proc/" + strconv.Itoa(pid))
	return err == nil
}
