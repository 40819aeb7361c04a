package load

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/lab/record"
)

// A Report is what came of a loop.
type Report struct {
	Began   time.Time
	Took    time.Duration
	Results []Result // in the order in which they were sent, per connection
	// Unsent counts requests of an open loop that were not sent at all, since
	// every connection was busy for a second.
	Unsent int
}

// Failed counts the results that are failures.
func (r *Report) Failed() int { return len(r.failures()) }

func (r *Report) failures() []*record.Failure {
	var all []*record.Failure
	for _, one := range r.Results {
		if one.Failure != nil {
			all = append(all, one.Failure)
		}
	}
	return all
}

// Rate returns good answers per second.
func (r *Report) Rate() float64 { return float64(len(r.Results)-r.Failed()) / r.Took.Seconds() }

// Closed sends n requests over a number of connections, each of which sends
// its next one when it has the answer to the last: a server that stalls is
// asked less meanwhile.
func Closed(ctx context.Context, r Request, connections, n int) *Report {
	report := &Report{Began: time.Now()}
	var left atomic.Int64
	left.Store(int64(n))
	perConnection := make([][]Result, connections)
	each(r, connections, func(i int, c *client) {
		for left.Add(-1) >= 0 && ctx.Err() == nil {
			perConnection[i] = append(perConnection[i], c.send(ctx, time.Now()))
		}
	})
	report.Took = time.Since(report.Began)
	report.Results = slices.Concat(perConnection...)
	return report
}

// openConnections is how many requests of an open loop can be under way.
const openConnections = 64

// Open sends requests at a constant rate, a second, for a time, whatever
// becomes of them. Latencies count from when a request was due, so that a
// server that stalls is charged with every request that it keeps waiting
// (what a closed loop omits).
func Open(ctx context.Context, r Request, rate int, d time.Duration) *Report {
	report := &Report{Began: time.Now()}
	due := make(chan time.Time, rate) // a second's worth
	perConnection := make([][]Result, openConnections)
	go func() {
		defer close(due)
		report.Unsent = schedule(ctx, report.Began, rate, d, due)
	}()
	each(r, openConnections, func(i int, c *client) {
		for at := range due {
			perConnection[i] = append(perConnection[i], c.send(ctx, at))
		}
	})
	report.Took = time.Since(report.Began)
	report.Results = slices.Concat(perConnection...)
	return report
}

// schedule hands out requests when they are due.
func schedule(ctx context.Context, began time.Time, rate int, d time.Duration, due chan<- time.Time) (unsent int) {
	interval := time.Second / time.Duration(rate)
	for n := range int(d / interval) {
		at := began.Add(time.Duration(n) * interval)
		if !sleepUntil(ctx, at) {
			return unsent
		}
		select {
		case due <- at:
		default:
			unsent++
		}
	}
	return unsent
}

// coarse is by how much a timer of Go's runtime may be late, and more.
const coarse = 2 * time.Millisecond

// sleepUntil returns at a time, or false when ctx ends before. The runtime's
// timers are up to a millisecond late where nothing else goes on, which would
// be a good part of what is measured: the kernel's are not.
func sleepUntil(ctx context.Context, at time.Time) bool {
	if d := time.Until(at) - coarse; d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return false
		}
	}
	for d := time.Until(at); d > 0; d = time.Until(at) {
		pause := unix.NsecToTimespec(int64(d))
		_ = unix.Nanosleep(&pause, nil) // a signal may end it early
	}
	return ctx.Err() == nil
}

// A Point is one number of connections of a [Sweep].
type Point struct {
	Began       time.Time
	Connections int
	Rate        float64 // good answers per second
	Failures    []*record.Failure
	Broken      bool // more than one request in a hundred failed
}

// Sweep sends n requests over each number of connections, until they fail.
func Sweep(ctx context.Context, r Request, connections []int, n int) []Point {
	var points []Point
	for _, c := range connections {
		if ctx.Err() != nil {
			break
		}
		report := Closed(ctx, r, c, max(n, c))
		p := Point{Began: report.Began, Connections: c, Rate: report.Rate(), Failures: report.failures()}
		p.Broken = len(p.Failures)*100 > len(report.Results)
		points = append(points, p)
		if p.Broken {
			break
		}
	}
	return points
}

// A Transfer is what came of a [Download].
type Transfer struct {
	Began   time.Time
	Took    time.Duration
	Failure *record.Failure // the first
}

// Download fetches the same many times over a number of connections.
func Download(ctx context.Context, r Request, connections, times int) Transfer {
	report := Closed(ctx, r, connections, times)
	t := Transfer{Began: report.Began, Took: report.Took}
	if failures := report.failures(); len(failures) > 0 {
		t.Failure = failures[0]
	}
	return t
}
