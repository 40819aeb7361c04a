package pool

import (
	"context"
	"log/slog"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// A Launcher starts instances. Launch may be called concurrently.
type Launcher interface {
	// Launch returns an instance that is ready to serve. ctx bounds the start
	// only, never the instance's life. On error nothing is left behind.
	Launch(ctx context.Context, rev *faas.Revision) (sandbox.Instance, error)
}

// Memory tells how much memory new instances may still take.
type Memory interface {
	// Available returns the bytes that can be allocated without pushing
	// anything else out. It is called once per start and must be quick.
	Available() (int64, error)
}

// Options configure a [Pool]. Only Launcher is required.
type Options struct {
	Launcher Launcher

	// Memory is asked before each start; nil admits every start.
	Memory Memory
	// Reserve is what is kept free for everything else, in bytes.
	Reserve int64
	// Estimate returns what an idle instance of a revision takes, in bytes,
	// before one has been measured, 0 when it does not know. Nil, like 0,
	// means 32 MiB. A request waits for its answer.
	Estimate func(*faas.Revision) int64

	// StartParallelism bounds starts in progress: those of one function, and
	// of all functions those that have not yet run for a second. Default:
	// GOMAXPROCS.
	StartParallelism int
	// StopParallelism bounds stops in progress. Default: twice GOMAXPROCS.
	StopParallelism int
	// StopTimeout bounds one attempt to stop an instance. Default: 15 s.
	StopTimeout time.Duration
	// QueueTimeout bounds a request's wait for an instance, over and above
	// its own context. Default: 5 minutes.
	QueueTimeout time.Duration
	// MeasureEvery is how often each instance's memory is measured.
	// Default: 10 s.
	MeasureEvery time.Duration
	// HealthEvery is how often each idle instance of a function with a health
	// check is asked. Default: 300 ms.
	HealthEvery time.Duration

	Logger     *slog.Logger          // default: discards
	Registerer prometheus.Registerer // nil: metrics are kept but not registered
}

const defaultEstimate = 32 << 20

func (o Options) withDefaults() Options {
	if o.Launcher == nil {
		panic("pool: Options.Launcher is nil")
	}
	procs := runtime.GOMAXPROCS(0)
	setDefault(&o.StartParallelism, procs)
	setDefault(&o.StopParallelism, 2*procs)
	setDefault(&o.StopTimeout, 15*time.Second)
	setDefault(&o.QueueTimeout, 5*time.Minute)
	setDefault(&o.MeasureEvery, 10*time.Second)
	setDefault(&o.HealthEvery, 300*time.Millisecond)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o *Options) estimate(rev *faas.Revision) int64 {
	if o.Estimate != nil {
		if bytes := o.Estimate(rev); bytes > 0 {
			return bytes
		}
	}
	return defaultEstimate
}

func setDefault[T int | time.Duration](v *T, value T) {
	if *v <= 0 {
		*v = value
	}
}
