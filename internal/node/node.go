// Package node puts a platform together: it makes the parts, gives them to
// each other, starts them in order and stops them in the opposite order. It
// decides nothing else.
package node

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/config"
	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/deploy"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/gateway"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/image"
	"github.com/unifaas/unifaas/internal/launch"
	"github.com/unifaas/unifaas/internal/logs"
	"github.com/unifaas/unifaas/internal/pool"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// Options say what a node is made of. All fields are required.
type Options struct {
	Config  config.Config
	Dirs    config.Dirs // absolute
	Exe     string      // path of the platform's binary
	Version string
	Drivers func(sandbox.Host) []sandbox.Driver
	Logger  *slog.Logger
}

// A Node is one platform.
type Node struct {
	opts     Options
	started  time.Time
	state    *state
	groups   *cgroup.Parent
	logs     *logs.Collector
	launcher *launch.Launcher
	preparer *preparer
	images   *image.Store
	pool     *pool.Pool
	catalog  *catalog.Catalog
	deployed *deploy.Store
	applied  applied
	gateway  *gateway.Gateway
	control  *control.Server
	admin    *admin

	undo    []func(context.Context) error // in the order in which the parts were made
	workers sync.WaitGroup
	failed  chan error // a server that ended by itself
}

// New makes a node and binds its listeners. Whatever it made is undone when
// it fails. A node that was made must be stopped, started or not.
func New(opts Options) (_ *Node, err error) {
	if err := opts.Config.Validate(); err != nil {
		return nil, err
	}
	n := &Node{opts: opts, started: time.Now(), failed: make(chan error, 4)}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Stop(context.Background()))
		}
	}()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, make := range []func(*prometheus.Registry) error{
		n.makeState, n.makeLauncher, n.makePool, n.makeCatalog, n.makeControl, n.makeAdmin, n.makeGateway,
	} {
		if err := make(registry); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (n *Node) onStop(undo func(context.Context) error) { n.undo = append(n.undo, undo) }

func (n *Node) makeState(*prometheus.Registry) error {
	st, err := openState(n.opts.Dirs.StateDir, n.opts.Dirs.RunDir)
	if err != nil {
		return err
	}
	n.state = st
	n.onStop(func(context.Context) error { st.close(); return nil })
	n.groups = cgroup.NewParent("unifaas-" + st.node)
	n.onStop(n.leaveGroup) // after all instances and what the drivers keep beside them
	return nil
}

func (n *Node) makeLauncher(reg *prometheus.Registry) (err error) {
	n.logs, err = logs.New(logs.Options{Dir: filepath.Join(n.opts.Dirs.StateDir, "logs"), Logger: n.opts.Logger})
	if err != nil {
		return err
	}
	host := sandbox.Host{
		Node: n.state.node, StateDir: n.opts.Dirs.StateDir, RunDir: n.opts.Dirs.RunDir,
		Exe: n.opts.Exe, Logger: n.opts.Logger,
	}
	n.launcher, err = launch.New(launch.Options{Host: host, Drivers: n.opts.Drivers(host), Logs: n.logs, Logger: n.opts.Logger, Registerer: reg})
	if err != nil {
		return err
	}
	n.onStop(func(context.Context) error { return n.launcher.Close() })
	n.preparer = newPreparer(n.launcher, n.opts.Logger)
	return nil
}

func (n *Node) makePool(reg *prometheus.Registry) error {
	machine := instancesMemory(n.groups, n.opts.Logger)
	reserve := int64(n.opts.Config.ReserveMemory) << 20
	if reserve == 0 {
		total, err := machine.Total()
		if err != nil {
			return err
		}
		reserve = total / 20
	}
	n.pool = pool.New(pool.Options{
		Launcher: n.launcher, Memory: machine, Reserve: reserve, Estimate: n.launcher.Estimate,
		StartParallelism: n.opts.Config.StartParallelism, Logger: n.opts.Logger, Registerer: reg,
	})
	n.onStop(n.pool.Stop)
	return nil
}

func (n *Node) makeGateway(reg *prometheus.Registry) (err error) {
	n.gateway, err = gateway.New(gateway.Options{
		Catalog: n.catalog, Pool: leases{n.pool}, Registerer: reg, Logger: n.opts.Logger, AccessLog: n.opts.Logger,
		Listen: n.opts.Config.Listen, MaxBody: int64(n.opts.Config.MaxBody) << 20, MaxConns: n.opts.Config.MaxConnections,
	})
	if err != nil {
		return err
	}
	n.onStop(n.drain)
	return nil
}

func (n *Node) makeControl(*prometheus.Registry) (err error) {
	n.control, err = control.Listen(n.opts.Dirs.RunDir, n.opts.Config.ControlGroup, (*backend)(n), n.opts.Logger)
	if err != nil {
		return err
	}
	n.onStop(n.control.Stop)
	return nil
}

func (n *Node) makeAdmin(reg *prometheus.Registry) (err error) {
	n.admin, err = newAdmin(n.opts.Config.AdminListen, reg, n.opts.Logger)
	if err != nil {
		return err
	}
	n.onStop(n.admin.stop)
	return nil
}

// leases is the pool as the gateway sees it.
type leases struct{ *pool.Pool }

func (l leases) TryAcquire(rev *faas.Revision) (gateway.Lease, bool) {
	lease, ok := l.Pool.TryAcquire(rev)
	if !ok {
		return nil, false
	}
	return lease, true
}

func (l leases) Acquire(ctx context.Context, rev *faas.Revision) (gateway.Lease, error) {
	lease, err := l.Pool.Acquire(ctx, rev)
	if err != nil {
		return nil, err
	}
	return lease, nil
}

// Run starts the node, waits until ctx is done or a part fails, and stops
// it. Requests under way have Config.DrainTimeout to finish.
func (n *Node) Run(ctx context.Context) error {
	err := n.start(ctx)
	if ctx.Err() != nil {
		err = nil // told to stop while it started
	}
	if err == nil {
		select {
		case <-ctx.Done():
			n.opts.Logger.Info("stopping", "drain", time.Duration(n.opts.Config.DrainTimeout).String())
		case err = <-n.failed:
		}
	}
	return errors.Join(err, n.Stop(context.WithoutCancel(ctx)))
}

// start recovers what an earlier run left, loads the functions and serves.
func (n *Node) start(ctx context.Context) error {
	n.serve(n.control.Serve)
	n.serve(n.admin.serve)
	recovered, err := n.launcher.Recover(ctx)
	if err != nil {
		// What could not be recovered keeps its record; the rest must serve.
		n.opts.Logger.Error("cannot recover everything of the last run", "err", err)
	}
	for _, r := range recovered {
		n.pool.Adopt(r.Revision, r.Instance)
	}
	if err := n.startCatalog(ctx); err != nil {
		return err
	}
	life, end := context.WithCancel(context.Background())
	n.workers.Go(func() { n.preparer.run(life) })
	n.workers.Go(func() { n.prune(life) })
	n.workers.Go(func() { n.tellSandboxes(life) })
	n.onStop(func(context.Context) error { end(); return nil })
	n.startDeployer()
	n.gateway.Start()
	n.admin.ready.Store(true)
	n.opts.Logger.Info("serving", "address", n.gateway.Addr().String(), "admin", n.admin.address(),
		"functions", n.catalog.Snapshot().Len(), "recovered", len(recovered), "node", n.state.node, "version", n.opts.Version)
	return nil
}

func (n *Node) serve(f func() error) {
	n.workers.Go(func() {
		if err := f(); err != nil {
			n.failed <- err
		}
	})
}

// stopTimeout bounds the stop of everything after the requests have drained.
const stopTimeout = 30 * time.Second

// Stop stops what New made and Run started, last in first out, and waits.
func (n *Node) Stop(ctx context.Context) error {
	if n.admin != nil {
		n.admin.ready.Store(false)
	}
	var errs []error
	for len(n.undo) > 0 {
		last := len(n.undo) - 1
		undo := n.undo[last]
		n.undo = n.undo[:last]
		bound, cancel := context.WithTimeout(ctx, max(time.Duration(n.opts.Config.DrainTimeout), stopTimeout))
		errs = append(errs, undo(bound))
		cancel()
	}
	n.workers.Wait()
	return errors.Join(errs...)
}

// drain stops the gateway. Requests under way have Config.DrainTimeout.
func (n *Node) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(n.opts.Config.DrainTimeout))
	defer cancel()
	err := n.gateway.Stop(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		// That is what the drain's bound is for: no failure of the stop.
		n.opts.Logger.Warn("connections that did not end in time were cut", "drain", time.Duration(n.opts.Config.DrainTimeout).String())
		return nil
	}
	return err
}

// GatewayAddress returns host:port of the gateway as it was bound.
func (n *Node) GatewayAddress() string { return n.gateway.Addr().String() }

// AdminAddress returns host:port of the admin port, "" when it is off.
func (n *Node) AdminAddress() string { return n.admin.address() }
