// Package experiment is what the laboratory's experiments have in common.
// Each experiment is a folder below this one, and a line in package all. It
// says what it measures and how one measurement is taken; when, how often and
// in which order is the run's to decide.
package experiment

import (
	"context"
	"time"

	"github.com/unifaas/unifaas/internal/control"
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
	// Keep makes the subject have exactly n idle instances in mode Idle, none
	// of which has served a request, and returns when they are there.
	Keep(ctx context.Context, s Subject, n int) error
	// Fresh makes the next request in mode Fresh start an instance, which then
	// stays until Fresh is called again.
	Fresh(ctx context.Context, s Subject) error
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
	// Spare are the processes that belong to no instance: the laboratory's and
	// the platform's own.
	Spare(pid int) bool
	// Hello is what the path /hello answers with.
	Hello(s Subject) string
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
	// Languages are those whose functions can do what is asked; nil is all.
	Languages []string
	Trials    func(s Scale) []Trial
}

// Sample returns a sample of the first metric.
func Sample(parameters, unit string, value float64) record.Sample {
	return record.Sample{Key: record.Key{Parameters: parameters, Unit: unit}, Value: value}
}

// Milliseconds is a duration in the unit "ms".
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
