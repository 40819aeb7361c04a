package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"

	"github.com/unifaas/unifaas/test/bench/measure"
	"github.com/unifaas/unifaas/test/bench/peers"
)

const coldStart = "cold start until 200"

// startLimit bounds one cold start, ours or a peer's.
const startLimit = time.Minute

// timeRequest returns how long it takes until url has answered 200.
func timeRequest(ctx context.Context, client *http.Client, url string) (time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, err
	}
	started := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	body, err := io.ReadAll(resp.Body)
	took := time.Since(started)
	_ = resp.Body.Close()
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %s: %s", url, resp.Status, body)
	}
	return took, err
}

// cold compares the first request to a function that has no instance: all
// sandboxes and all peers in the same rounds.
func (b *bench) cold(ctx context.Context) ([]measure.Row, error) {
	f := b.newField("cold")
	contests := contests(b.options.sandboxes)
	contenders, absent := f.coldContenders(ctx, contests)
	// A round that does not count: images are made, files come into the cache.
	first := interleave(ctx, 1, contenders)
	r := interleave(ctx, b.scale.coldRounds, first.fit(contenders))
	maps.Copy(r.failed, first.failed)
	r.absent = absent
	var rows []measure.Row
	for _, c := range contests {
		for _, rival := range c.cold {
			rows = append(rows, r.compare(coldStart+c.label, "ms", c.ours(), rival))
		}
	}
	return rows, errors.Join(r.err(), f.close())
}

// coldContenders returns all that compete, and why others don't.
func (f *field) coldContenders(ctx context.Context, contests []contest) (contenders []contender, absent map[string]error) {
	absent = map[string]error{}
	add := func(name string, run measurement, err error) {
		if err != nil {
			f.bench.say("without %s: %v", name, err)
			absent[name] = err
			return
		}
		contenders = append(contenders, contender{name, run})
	}
	seen := map[string]bool{}
	for _, c := range contests { // a rival may be another of ours
		seen[c.ours()] = true
	}
	for _, c := range contests {
		p, err := f.ours(ctx, c)
		add(c.ours(), coldOurs(p), err)
		for _, rival := range c.cold {
			if !seen[rival.peer] {
				seen[rival.peer] = true
				peer, err := f.peer(ctx, rival.peer)
				add(rival.peer, coldPeer(peer), err)
			}
		}
	}
	return contenders, absent
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

func coldOurs(p *platform) measurement {
	return func(ctx context.Context, _ int) (float64, error) {
		took, err := timeRequest(ctx, p.client, p.hello())
		if err != nil {
			return 0, err
		}
		return milliseconds(took), p.awaitInstances(ctx, 0) // it is not to disturb the next
	}
}

func coldPeer(peer peers.Peer) measurement {
	return func(ctx context.Context, _ int) (float64, error) {
		ctx, cancel := context.WithTimeout(ctx, startLimit)
		defer cancel()
		instance, err := peer.Prepare()
		if err != nil {
			return 0, err
		}
		took, err := instance.Start(ctx, helloPath)
		return milliseconds(took), errors.Join(err, instance.Delete())
	}
}
