package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/unifaas/unifaas/test/bench/measure"
	"github.com/unifaas/unifaas/test/bench/peers"
)

const burstPeer = "bare runsc, a loop per core"

var burstBound = measure.AtMost(1.2)

// burst compares many cold starts at once. Ours must queue them itself; the
// peer is a loop that knows how many the machine can take.
func (b *bench) burst(ctx context.Context) ([]measure.Row, error) {
	name := fmt.Sprintf("burst of %d cold starts, total", b.scale.burst)
	missing := func(why error) []measure.Row {
		return []measure.Row{measure.Missing(name, "s", burstPeer, burstBound, why.Error())}
	}
	ours, err := b.startUnifaas(ctx, "burst", map[string]function{"benchmark": coldFunction()})
	if err != nil {
		return missing(err), err
	}
	runsc, err := b.newRunsc("burst-runsc")
	if err != nil {
		return missing(err), errors.Join(err, b.group.StopAll())
	}
	// The first start makes the image; it belongs to the deployment.
	_, err = b.coldOurs(ours)(ctx, 0)
	unanswered := 0
	var samples map[string]measure.Sample
	if err == nil {
		samples, err = interleave(ctx, b.scale.burstRounds, []contender{
			{"ours", func(ctx context.Context, _ int) (float64, error) {
				took, failed, err := b.burstOurs(ctx, ours)
				unanswered += failed
				return took.Seconds(), err
			}},
			{"runsc", func(ctx context.Context, _ int) (float64, error) {
				took, err := b.burstRunsc(ctx, runsc)
				return took.Seconds(), err
			}},
		})
	}
	err = errors.Join(err, runsc.Close(), b.group.StopAll())
	if len(samples["ours"]) == 0 {
		return missing(err), err
	}
	row := measure.Compare(name, "s", samples["ours"], burstPeer, samples["runsc"], burstBound)
	if unanswered > 0 {
		row = row.Invalid(fmt.Sprintf("%d of %d requests were not answered with 200", unanswered, b.scale.burst*b.scale.burstRounds))
	}
	return []measure.Row{row}, err
}

// burstOurs sends all requests at once and returns how long it took until the
// last was answered and how many got something else than 200.
func (b *bench) burstOurs(ctx context.Context, p *platform) (time.Duration, int, error) {
	client := newClient()
	failures := make([]error, b.scale.burst)
	var requests sync.WaitGroup
	started := time.Now()
	for i := range failures {
		requests.Go(func() { _, failures[i] = timeRequest(ctx, client, p.hello()) })
	}
	requests.Wait()
	took := time.Since(started)
	failed := 0
	for _, err := range failures {
		if err == nil {
			continue
		}
		if failed++; failed == 1 {
			b.say("burst: %v", err)
		}
	}
	return took, failed, p.awaitInstances(ctx, 0)
}

// burstRunsc starts as many sandboxes, as parallel as there are cores, each
// killed as soon as it has answered: a single-use instance without a platform.
// Making what a start needs and clearing it away afterwards is not timed.
func (b *bench) burstRunsc(ctx context.Context, runsc *peers.Runsc) (time.Duration, error) {
	todo := make(chan *peers.Bare, b.scale.burst)
	var sandboxes []*peers.Bare
	var errs []error
	for range b.scale.burst {
		bare, err := runsc.Prepare()
		if err != nil {
			errs = append(errs, err)
			break
		}
		sandboxes = append(sandboxes, bare)
		todo <- bare
	}
	close(todo)
	var mu sync.Mutex
	var workers sync.WaitGroup
	started := time.Now()
	for range runtime.NumCPU() {
		workers.Go(func() {
			for bare := range todo {
				err := startAndKill(ctx, bare)
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	took := time.Since(started)
	for _, bare := range sandboxes {
		errs = append(errs, bare.Delete())
	}
	return took, errors.Join(errs...)
}

func startAndKill(ctx context.Context, bare *peers.Bare) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if _, err := bare.Start(ctx, helloPath); err != nil {
		return err
	}
	return bare.Kill()
}
