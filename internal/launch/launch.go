// Package launch turns a revision into an instance that is ready to serve:
// it picks the driver, has the artifact prepared once, makes the instance's
// folder, record and log, starts it and waits for it. After a crash of the
// platform it finds what the records tell of. It knows nothing of requests,
// queues or pools.
package launch

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/boot"
	"github.com/unifaas/unifaas/internal/logs"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// Options configure a [Launcher]. All fields are required.
type Options struct {
	Host       sandbox.Host
	Drivers    []sandbox.Driver
	Logs       *logs.Collector
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// A Launcher starts instances. Its methods may be called concurrently.
type Launcher struct {
	opts    Options
	drivers map[string]*driver
	order   []string
	records records
	metrics *metrics

	mu        sync.Mutex
	artifacts map[string]*artifact // by revision digest
	current   map[string]bool      // digests of the revisions that are served; nil while that is not known

	undoing sync.WaitGroup
	closing chan struct{}
	close   sync.Once
}

// New returns a launcher that keeps the instances' folders in
// opts.Host.RunDir/instances.
func New(opts Options) (*Launcher, error) {
	dir := filepath.Join(opts.Host.RunDir, "instances")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create instances folder: %w", err)
	}
	bootID, err := boot.ID()
	if err != nil {
		return nil, err
	}
	l := &Launcher{
		opts:      opts,
		drivers:   map[string]*driver{},
		records:   records{dir: dir, bootID: bootID},
		metrics:   newMetrics(opts.Registerer),
		artifacts: map[string]*artifact{},
		closing:   make(chan struct{}),
	}
	for _, d := range opts.Drivers {
		l.drivers[d.Name()] = &driver{Driver: d}
		l.order = append(l.order, d.Name())
	}
	return l, nil
}

// Close gives up what the drivers keep beside instances. All instances must
// have been stopped.
func (l *Launcher) Close() error {
	l.close.Do(func() { close(l.closing) })
	l.undoing.Wait()
	var errs []error
	for _, name := range l.order {
		errs = append(errs, l.drivers[name].close())
	}
	return errors.Join(errs...)
}

// Launch returns an instance of rev that is ready to serve. ctx bounds the
// start, not the instance's life. On error nothing of the instance is left
// but its log. The error's kind is KindUnavailable when the sandbox can't
// run here, KindTimeout when ctx's deadline passed, KindBroken when the
// function itself failed; an Output method of an error in its chain tells what
// it printed last.
func (l *Launcher) Launch(ctx context.Context, rev *faas.Revision) (sandbox.Instance, error) {
	d, err := l.usable(ctx, rev)
	if err != nil {
		return nil, err
	}
	trace := l.metrics.trace(rev)
	art, err := l.prepare(ctx, d, rev)
	if err != nil {
		return nil, err
	}
	trace.mark("prepare", time.Now())
	inst := l.newInstance(d, rev)
	if err := l.start(ctx, art, inst, trace); err != nil {
		inst.discard(ctx)
		return nil, shortage(rev, err)
	}
	return inst, nil
}

// start starts inst and waits until it can serve.
func (l *Launcher) start(ctx context.Context, art sandbox.Artifact, inst *instance, trace *trace) error {
	if err := inst.create(); err != nil {
		return fmt.Errorf("make instance of %q: %w", inst.record.Function, err)
	}
	output, err := inst.output.Writer()
	if err != nil {
		return err
	}
	defer output.Close()
	running, err := inst.driver.Start(ctx, art, sandbox.Spec{
		ID: inst.record.ID, Revision: inst.record.Revision,
		Dir: filepath.Join(inst.record.Dir, boxDir), Output: output,
		Record: inst.recordState, Trace: trace.mark,
	})
	if err != nil {
		return inst.startError(ctx, err)
	}
	inst.Instance = running
	trace.mark("started", time.Now())
	if err := running.Ready(ctx); err != nil {
		return inst.readyError(ctx, err)
	}
	trace.mark("ready", time.Now())
	trace.finish()
	inst.phases = trace.marks
	return nil
}

// Prepare has rev's artifact made ahead of its first start.
func (l *Launcher) Prepare(ctx context.Context, rev *faas.Revision) error {
	d, err := l.usable(ctx, rev)
	if err != nil {
		return err
	}
	_, err = l.prepare(ctx, d, rev)
	return err
}

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// newID returns an id that no other instance on this host has.
func newID(node string) string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return node + "-" + idEncoding.EncodeToString(b[:])
}

func (l *Launcher) newInstance(d *driver, rev *faas.Revision) *instance {
	return &instance{launcher: l, driver: d, record: l.records.place(sandbox.Record{
		ID: newID(l.opts.Host.Node), Sandbox: d.Name(),
		Function: rev.Function.Ref, Revision: rev,
		BootID: l.records.bootID, Created: time.Now(),
	})}
}
