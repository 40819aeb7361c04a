package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/unifaas/unifaas/test/bench/measure"
	"github.com/unifaas/unifaas/test/bench/peers"
)

const coldStart = "cold start until 200"

// startLimit bounds one cold start, ours or a peer's.
const startLimit = time.Minute

var (
	runscBound  = measure.AtMost(1.15)
	dockerBound = measure.AtMost(0.6)
)

// newClient returns a client that makes a connection for each request.
func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: startLimit}
}

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

// cold compares the first request to a function that has no instance.
func (b *bench) cold(ctx context.Context) ([]measure.Row, error) {
	missing := func(why error) []measure.Row {
		return []measure.Row{
			measure.Missing(coldStart, "ms", "bare runsc", runscBound, why.Error()),
			measure.Missing(coldStart, "ms", "docker run (bridge)", dockerBound, why.Error()),
		}
	}
	ours, err := b.startUnifaas(ctx, "cold", map[string]function{"benchmark": coldFunction()})
	if err != nil {
		return missing(err), err
	}
	runsc, err := b.newRunsc("cold-runsc")
	if err != nil {
		return missing(err), errors.Join(err, b.group.StopAll())
	}
	docker, dockerErr := b.newDocker(ctx)
	contenders := []contender{{"ours", b.coldOurs(ours)}, {"runsc", coldRunsc(runsc)}}
	if dockerErr == nil {
		contenders = append(contenders, contender{"docker", coldDocker(docker)})
	}
	// A round that does not count: images are made, files come into the cache.
	_, err = interleave(ctx, 1, contenders)
	var samples map[string]measure.Sample
	if err == nil {
		samples, err = interleave(ctx, b.scale.coldRounds, contenders)
	}
	if dockerErr == nil {
		err = errors.Join(err, docker.Close())
	}
	err = errors.Join(err, runsc.Close(), b.group.StopAll())
	if err != nil && len(samples["ours"]) == 0 {
		return missing(err), err
	}
	rows := []measure.Row{measure.Compare(coldStart, "ms", samples["ours"], "bare runsc", samples["runsc"], runscBound)}
	if dockerErr != nil {
		return append(rows, measure.Missing(coldStart, "ms", "docker run (bridge)", dockerBound, dockerErr.Error())), err
	}
	return append(rows, measure.Compare(coldStart, "ms", samples["ours"], "docker run (bridge)", samples["docker"], dockerBound)), err
}

func (b *bench) newRunsc(name string) (*peers.Runsc, error) {
	dir, err := b.dir(name)
	if err != nil {
		return nil, err
	}
	rev, err := b.revision()
	if err != nil {
		return nil, err
	}
	return peers.NewRunsc(b.unifaas, dir, rev)
}

func (b *bench) newDocker(ctx context.Context) (*peers.Docker, error) {
	dir, err := b.dir("docker")
	if err != nil {
		return nil, err
	}
	rev, err := b.revision()
	if err != nil {
		return nil, err
	}
	return peers.NewDocker(ctx, b.group, dir, rev, b.program)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

type measurement = func(context.Context, int) (float64, error)

func (b *bench) coldOurs(p *platform) measurement {
	client := newClient()
	return func(ctx context.Context, _ int) (float64, error) {
		took, err := timeRequest(ctx, client, p.hello())
		if err != nil {
			return 0, err
		}
		return milliseconds(took), p.awaitInstances(ctx, 0) // it is not to disturb the next
	}
}

func coldRunsc(runsc *peers.Runsc) measurement {
	return func(ctx context.Context, _ int) (float64, error) {
		ctx, cancel := context.WithTimeout(ctx, startLimit)
		defer cancel()
		bare, err := runsc.Prepare()
		if err != nil {
			return 0, err
		}
		took, err := bare.Start(ctx, helloPath)
		return milliseconds(took), errors.Join(err, bare.Delete())
	}
}

func coldDocker(docker *peers.Docker) measurement {
	return func(ctx context.Context, _ int) (float64, error) {
		ctx, cancel := context.WithTimeout(ctx, startLimit)
		defer cancel()
		took, remove, err := docker.Run(ctx, helloPath)
		if remove != nil {
			err = errors.Join(err, remove())
		}
		return milliseconds(took), err
	}
}
