// Package experiment is what the laboratory's experiments have in common.
// Each experiment is a folder below this one, and a line in package all. It
// says what it measures and how one measurement is taken; when, how often and
// in which order is the run's to decide.
package experiment

import (
	"context"
	"time"

	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/lab/measure"
	"github.com/unifaas/unifaas/internal/lab/record"
)

// A Subject is what is measured: functions of one language in one sandbox.
type Subject struct {
	Sandbox  string // as in record.Key
	Language string
}

// A Mode says how a subject's function is served.
type Mode string

// The modes. Each is a function of its own.
const (
	// Single gives each request an instance of its own, which then goes.
	Single Mode = "single"
	// Warm has one instance that handles many requests at once.
	Warm Mode = "warm"
	// Idle has as many instances as were asked for with [Lab.Keep], each for
	// one request at once.
	Idle Mode = "idle"
	// Fresh starts an instance with a request and keeps it; see [Lab.Fresh].
	Fresh Mode = "fresh"
)

// A Lab is what experiments measure with. Its methods may be called
// concurrently for different subjects.
type Lab interface {
	// URL returns the address of a path of a subject's function.
	URL(s Subject, m Mode, path string) string
	// Renew makes each subject have exactly n idle instances in mode Idle, none
	// of which has served a request; Await returns when one has them. Of what
	// goes wrong with one subject Await tells, so that the others go on.
	Renew(ctx context.Context, n int, all ...Subject) error
	Await(ctx context.Context, s Subject, n int) error
	// Fresh makes each subject's next request in mode Fresh start an instance,
	// which then stays until Fresh is called again. It returns when those that
	// were there are gone.
	Fresh(ctx context.Context, all ...Subject) error
	// Instances returns the instances that there are in one mode.
	Instances(ctx context.Context, s Subject, m Mode) ([]control.Instance, error)
	// Gone returns when the subject has no instance in a mode, and the platform
	// would start one: after a failure it waits.
	Gone(ctx context.Context, s Subject, m Mode) error
	// FailedStarts returns how many starts in one mode have failed so far, those
	// that the platform tried again among them.
	FailedStarts(ctx context.Context, s Subject, m Mode) (int, error)
	// Image returns the size of the subject's image in bytes.
	Image(ctx context.Context, s Subject) (int64, error)
	// Came returns the processes of after that have come with instances since
	// before.
	Came(before, after []measure.ProcessMemory) []measure.ProcessMemory
	// Hello is what the path /hello answers with.
	Hello(s Subject) string
	// Inside reports whether there is more than the address of a gateway: only
	// then Renew, Await, Fresh, Instances, FailedStarts, Image and Came are to
	// be used.
	Inside() bool
}

// A Scale says how much is measured.
type Scale int

// The scales.
const (
	Quick  Scale = iota // everything within three minutes
	Normal              // for one's own decision
	Paper               // as often as the paper did
)

// Of returns the value for a scale.
func Of[T any](s Scale, quick, normal, paper T) T { return [...]T{quick, normal, paper}[s] }

// A Trial is one kind of measurement, taken Times for each subject.
type Trial struct {
	// Parameters are those of its samples' keys, and its name.
	Parameters string
	Times      int
	// Cost is about how long one takes, for the time that is left at the
	// beginning of a run.
	Cost time.Duration
	// Before, if not nil, is called before each round with the subjects that
	// are asked in it, so that what takes the platform time is done for all of
	// them at once.
	Before func(ctx context.Context, lab Lab, all []Subject) error
	// Take measures once. Its samples need a Key with what Parameters say,
	// Metric and Unit at least; the rest is filled in. A request that failed is
	// a sample with a failure. An error means that nothing could be measured.
	Take func(ctx context.Context, lab Lab, s Subject) ([]record.Sample, error)
	// All measures all subjects together, in place of Take, where measuring
	// takes long and the subjects do not disturb each other. Its samples need
	// Sandbox and Language, too.
	All func(ctx context.Context, lab Lab, all []Subject) ([]record.Sample, error)
}

// An Experiment says what is measured.
type Experiment struct {
	Name  string // the paper's where it has the same
	About string // what is measured, in a sentence
	// Inside says that it needs the platform's machine: processes, memory,
	// traces, or instances that have served nothing.
	Inside bool
	// Languages are those whose functions can do what is asked; nil is all.
	Languages []string
	Trials    func(s Scale) []Trial
	// Charts are how its samples are drawn.
	Charts []Chart
	// Lacking is said where samples have come and none of them of the first
	// metric, which some machines can't measure; "" is for those that all can.
	Lacking string
}

// A Form is a way to draw samples.
type Form int

// The forms.
const (
	Distribution Form = iota // every sample, quartiles and median: a row for each series
	Amounts                  // a bar as long as the median: a row for each series
	Stack                    // a bar for each subject with a part for each metric
	Curve                    // medians along a parameter: a curve for each subject
	Failures                 // a bar with a part for each class of failures: a row for each series
)

// A Chart says how samples of one experiment are drawn.
type Chart struct {
	// Name tells the charts of an experiment apart; that of the first is "".
	Name  string
	Title string
	Form  Form
	// Metric is the one that is drawn; a Stack draws all that begin with it.
	Metric string
	// Beside is a metric that a Stack shows as a mark beside its bars; "" is
	// none.
	Beside string
	// Along is the parameter of a Curve.
	Along string
	// Axis says what the values are, without the unit.
	Axis string
	Log  bool
}

// Keep is [Lab.Renew] and [Lab.Await] for one subject.
func Keep(ctx context.Context, lab Lab, s Subject, n int) error {
	if err := lab.Renew(ctx, n, s); err != nil {
		return err
	}
	return lab.Await(ctx, s, n)
}

// One renews one instance of each subject: a trial's Before.
func One(ctx context.Context, lab Lab, all []Subject) error { return lab.Renew(ctx, 1, all...) }

// Sample returns a sample of the first metric.
func Sample(parameters, unit string, value float64) record.Sample {
	return record.Sample{Key: record.Key{Parameters: parameters, Unit: unit}, Value: value}
}

// Milliseconds is a duration in the unit "ms".
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
