package load

import (
	"context"
	"sync"
	"time"
)

// An OpenLoop sends requests at a rate that does not depend on how fast they
// are answered. Latency counts from when a request was due, so that a server
// that stalls is charged with every request it kept waiting.
type OpenLoop struct {
	Address     string        // host:port
	Paths       []string      // requested in turn
	Rate        int           // requests per second
	Connections int           // kept alive; what cannot be sent on one of them waits
	Duration    time.Duration // how long requests are sent
}

// Result tells what came of an open loop.
type Result struct {
	Due      int // requests that should have been sent
	Answered int // with status 200
	Failed   int
	Unsent   int // because all connections were busy for a second
	Elapsed  time.Duration
	P50, P99 time.Duration // from when they were due
	// FirstError is why the first of those that failed did.
	FirstError error
}

// Achieved returns good answers per second.
func (r Result) Achieved() float64 { return float64(r.Answered) / r.Elapsed.Seconds() }

// Run sends the requests and waits for the answers. It ends early with ctx.
func (o OpenLoop) Run(ctx context.Context) Result {
	due := make(chan ticket, o.Rate) // a second's worth
	total := tally{latencies: &histogram{}}
	var workers sync.WaitGroup
	for range o.Connections {
		workers.Go(func() {
			c := client{address: o.Address}
			defer c.close()
			for t := range due {
				total.count(c.get(t.path), time.Since(t.at))
			}
		})
	}
	started := time.Now()
	r := o.send(ctx, started, due)
	close(due)
	workers.Wait()
	r.Elapsed = time.Since(started)
	r.Answered, r.Failed, r.FirstError = total.good, total.bad, total.first
	r.P50, r.P99 = total.latencies.quantile(0.5), total.latencies.quantile(0.99)
	return r
}

type ticket struct {
	path string
	at   time.Time
}

// send hands out requests when they are due, a millisecond's at a time.
func (o OpenLoop) send(ctx context.Context, started time.Time, due chan<- ticket) Result {
	var r Result
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return r
		case <-tick.C:
		}
		elapsed := min(time.Since(started), o.Duration)
		for target := int(elapsed.Seconds() * float64(o.Rate)); r.Due < target; r.Due++ {
			at := started.Add(time.Duration(r.Due) * time.Second / time.Duration(o.Rate))
			select {
			case due <- ticket{o.Paths[r.Due%len(o.Paths)], at}:
			default:
				r.Unsent++
			}
		}
		if elapsed == o.Duration {
			return r
		}
	}
}

type tally struct {
	mu        sync.Mutex
	good, bad int
	first     error
	latencies *histogram
}

func (t *tally) count(err error, latency time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.good++
		t.latencies.add(latency)
		return
	}
	if t.bad++; t.first == nil {
		t.first = err
	}
}
