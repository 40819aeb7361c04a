package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/unifaas/unifaas/test/bench/measure"
	"github.com/unifaas/unifaas/test/bench/peers"
)

// burst compares many cold starts at once, one sandbox after the other. Ours
// must queue them itself; the peer is a loop that knows how many the machine
// can take.
func (b *bench) burst(ctx context.Context) ([]measure.Row, error) {
	var rows []measure.Row
	var errs []error
	for _, c := range contests(b.options.sandboxes) {
		if c.burst.peer == "" {
			continue
		}
		row, err := b.burstContest(ctx, c)
		rows, errs = append(rows, row), append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return rows, errors.Join(errs...)
}

func (b *bench) burstContest(ctx context.Context, c contest) (measure.Row, error) {
	atOnce := cmp.Or(c.atOnce, b.scale.burst)
	name := fmt.Sprintf("burst of %d cold starts, total%s", atOnce, c.label)
	loop := rival{c.burst.peer + ", a loop per core", c.burst.bound}
	f := b.newField("burst")
	ours, err := f.ours(ctx, c)
	var peer peers.Peer
	if err == nil {
		peer, err = f.peer(ctx, c.burst.peer)
	}
	if err != nil {
		b.say("without %s: %v", c.ours(), err)
		return measure.Missing(name, "s", loop.peer, loop.bound, err.Error()), f.close()
	}
	rounds, unanswered := b.scale.burstRounds*c.rounds, 0
	contenders := []contender{
		{c.ours(), func(ctx context.Context, _ int) (float64, error) {
			took, failed, err := b.burstOurs(ctx, ours, atOnce)
			unanswered += failed
			return took.Seconds(), err
		}},
		{loop.peer, func(ctx context.Context, _ int) (float64, error) {
			took, err := b.burstPeer(ctx, peer, atOnce)
			return took.Seconds(), err
		}},
	}
	// The first start of each makes images and fills caches.
	first := interleave(ctx, 1, []contender{{c.ours(), coldOurs(ours)}, {loop.peer, coldPeer(peer)}})
	r := first
	if first.err() == nil {
		r = interleave(ctx, rounds, contenders)
	} else {
		clear(r.samples)
	}
	row := r.compare(name, "s", c.ours(), loop)
	if unanswered > 0 {
		row = row.Invalid(fmt.Sprintf("%d of %d requests were not answered with 200", unanswered, atOnce*rounds))
	}
	return row, errors.Join(r.err(), f.close())
}

// burstOurs sends all requests at once and returns how long it took until the
// last was answered and how many got something else than 200.
func (b *bench) burstOurs(ctx context.Context, p *platform, atOnce int) (time.Duration, int, error) {
	failures := make([]error, atOnce)
	var requests sync.WaitGroup
	started := time.Now()
	for i := range failures {
		requests.Go(func() { _, failures[i] = timeRequest(ctx, p.client, p.hello()) })
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

// burstPeer starts as many instances, as parallel as there are cores, each
// killed as soon as it has answered: a single-use instance without a platform.
// Making what a start needs and clearing it away afterwards is not timed.
func (b *bench) burstPeer(ctx context.Context, peer peers.Peer, atOnce int) (time.Duration, error) {
	var instances []peers.Instance
	var failed error
	for range atOnce {
		i, err := peer.Prepare()
		if err != nil {
			failed = err
			break
		}
		instances = append(instances, i)
	}
	started := time.Now()
	if failed == nil {
		failed = perCore(instances, func(i peers.Instance) error { return startAndKill(ctx, i) })
	}
	took := time.Since(started)
	return took, errors.Join(failed, perCore(instances, peers.Instance.Delete))
}

// perCore calls f for each instance, in as many loops as there are cores.
func perCore(instances []peers.Instance, f func(peers.Instance) error) error {
	todo := make(chan peers.Instance, len(instances))
	for _, i := range instances {
		todo <- i
	}
	close(todo)
	errs := make([]error, runtime.NumCPU())
	var loops sync.WaitGroup
	for n := range errs {
		loops.Go(func() {
			for i := range todo {
				errs[n] = errors.Join(errs[n], f(i))
			}
		})
	}
	loops.Wait()
	return errors.Join(errs...)
}

func startAndKill(ctx context.Context, i peers.Instance) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if _, err := i.Start(ctx, helloPath); err != nil {
		return err
	}
	return i.Kill()
}
