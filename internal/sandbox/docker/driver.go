package docker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// Name is the value of a function's sandbox key.
const Name = "docker"

// Options are the operator's choices. The zero value is the default.
type Options struct {
	// Host is the address of the Docker Engine, for instance
	// "unix:///run/docker.sock"; default is the environment's DOCKER_HOST, or
	// else Docker's own default. The Engine must run on this machine.
	Host string
}

// A Driver starts functions in containers of a Docker Engine. Its methods may
// be called concurrently.
type Driver struct {
	host    sandbox.Host
	engine  *engine
	broken  error // why there is no engine
	watch   *watcher
	images  *images
	network *bridge
	calls   *callbacks
	groups  cgroup.Layout
	starts  chan struct{} // one slot for each start that the Engine works on

	late atomic.Pointer[map[string]bool] // a sweep that is still to be done, and what it must spare

	close sync.Once
}

var (
	_ sandbox.Driver  = (*Driver)(nil)
	_ sandbox.Statser = (*instance)(nil)
)

// New returns a driver. It does not call the Engine.
func New(host sandbox.Host, options Options) *Driver {
	d := &Driver{host: host, starts: make(chan struct{}, parallelStarts)}
	if d.engine, d.broken = connect(options.Host); d.broken != nil {
		return d
	}
	d.watch = newWatcher(d.engine, host.Node)
	d.images = newImages(d.engine, host.Node)
	d.network = &bridge{engine: d.engine, node: host.Node}
	d.calls = newCallbacks(host.Logger)
	// Without its layout the Engine is asked for measurements.
	d.groups, _ = cgroup.Discover()
	return d
}

// Name returns "docker".
func (d *Driver) Name() string { return Name }

// Close gives up what is kept beside instances: the stream of events, the
// callbacks' servers, and the platform's own network if nothing is on it. All
// instances must have been stopped. It may be called more than once.
func (d *Driver) Close() error {
	var err error
	d.close.Do(func() {
		if d.engine == nil {
			return
		}
		d.watch.close()
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		err = errors.Join(d.calls.close(), d.network.removeAll(ctx), d.engine.Close())
	})
	return err
}

// Prune removes the images that were imported into Docker's store for images
// that are not among keep. Docker's own, pulled or built, are left alone.
func (d *Driver) Prune(keep []faas.Image, grace time.Duration) error {
	if d.engine == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return d.images.prune(ctx, keep, grace)
}

var errNotOurs = errors.New("artifact was not made by the docker driver")
