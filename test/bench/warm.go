package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"time"

	"github.com/unifaas/unifaas/test/bench/load"
	"github.com/unifaas/unifaas/test/bench/measure"
	"github.com/unifaas/unifaas/test/bench/peers"
	"github.com/unifaas/unifaas/test/bench/proc"
)

const (
	// many is the number of connections, and what an instance handles at once.
	many = 64
	// validDirect is how many times faster than nginx the function itself must
	// be: below that, the function is what is measured.
	validDirect = 1.5

	helloPath = "/hello"
)

const (
	warmRate   = "warm throughput, 64 connections"
	warmP50    = "warm p50, 1 connection"
	warmCPU    = "warm CPU time per request, 64 connections"
	gvisorRate = "warm throughput, 64 connections, gVisor instance"
	gvisorP50  = "warm p50, 1 connection, gVisor instance"
)

// nginx as it is after proxy_pass and keep-alive; and adding to each exchange
// the headers that we add, which cost the function as much as the proxy.
const (
	nginx     = "nginx"
	nginxSame = "nginx adding the same headers"
)

// A way leads to a warm instance.
type way struct {
	url  string
	pids []int // the proxy's processes, without the function's
}

// warm compares proxies in front of one warm instance. nginx, we and the
// direct way all reach the same process: the one that our platform started.
func (b *bench) warm(ctx context.Context) ([]measure.Row, error) {
	missing := func(why error) []measure.Row {
		return []measure.Row{
			measure.Missing(warmRate, "requests/s", nginx, measure.AtLeast(1), why.Error()),
			measure.Missing(warmP50, "µs", nginx, measure.AtMost(1), why.Error()),
		}
	}
	wrk, err := load.FindWrk(b.work)
	if err != nil {
		return missing(err), nil
	}
	ways := map[string]way{}
	if err := b.startWarm(ctx, ways); err != nil {
		return missing(err), err
	}
	samples, err := b.loadWarm(ctx, wrk, ways)
	if err != nil {
		return missing(err), errors.Join(err, b.group.StopAll())
	}
	return warmRows(ways, samples), b.group.StopAll()
}

// startWarm starts what leads to a warm instance and fills in the ways.
// nginx and gVisor are left out where they don't run.
func (b *bench) startWarm(ctx context.Context, ways map[string]way) error {
	exe, err := b.build(ctx, "platform", "./test/bench/platform")
	if err != nil {
		return err
	}
	port, err := proc.FreePort()
	if err != nil {
		return err
	}
	var args []string
	if b.options.pprof != "" {
		args = []string{"--pprof", b.options.pprof}
	}
	// "auto" is the only sandbox that this platform has: a plain process.
	ours, err := b.startPlatform(ctx, "warm-process", exe, map[string]function{
		"benchmark": {sandbox: "auto", port: port, concurrency: many, instances: 1, cpus: runtime.NumCPU()},
	}, place{}, args...)
	if err == nil {
		err = ours.awaitInstances(ctx, 1)
	}
	if err != nil {
		return err
	}
	ways["direct"] = way{url: "http://" + proc.Local(port) + helloPath}
	ways["ours"] = way{ours.hello(), []int{ours.Pid()}}
	for _, name := range []string{nginx, nginxSame} {
		if ways[name], err = b.startNginx(ctx, name, port); err != nil {
			b.say("without %s: %v", name, err)
			delete(ways, name)
		}
	}
	if ways["gvisor"], err = b.startWarmGVisor(ctx); err != nil {
		b.say("without gVisor: %v", err)
		delete(ways, "gvisor")
	}
	return nil
}

func (b *bench) startWarmGVisor(ctx context.Context) (way, error) {
	p, err := b.startUnifaas(ctx, "warm-gvisor", map[string]function{
		"benchmark": {sandbox: "gvisor", port: functionPort, concurrency: many, instances: 1, cpus: runtime.NumCPU()},
	}, place{})
	if err != nil {
		return way{}, err
	}
	return way{p.hello(), []int{p.Pid()}}, p.awaitInstances(ctx, 1)
}

func (b *bench) startNginx(ctx context.Context, name string, upstream int) (way, error) {
	file := strings.ReplaceAll(name, " ", "-") // nginx's configuration does not quote
	dir, err := b.dir(file)
	if err != nil {
		return way{}, err
	}
	port, err := proc.FreePort()
	if err != nil {
		return way{}, err
	}
	p, err := peers.Nginx(ctx, b.group, peers.NginxOptions{
		Name: file, Dir: dir, Upstream: proc.Local(upstream), Port: port, SameHeaders: name == nginxSame,
	}, helloPath)
	if err != nil {
		return way{}, err
	}
	workers, err := proc.Children(p.Pid())
	return way{"http://" + proc.Local(port) + "/invoke/benchmark" + helloPath, workers}, err
}

// loadWarm returns samples by key, and those of CPU time by cpuKey.
func (b *bench) loadWarm(ctx context.Context, wrk *load.Wrk, ways map[string]way) (map[string]measure.Sample, error) {
	var contenders []contender
	costs := map[string]measure.Sample{}
	for _, name := range []string{"direct", nginx, nginxSame, "ours", "gvisor"} {
		w, ok := ways[name]
		if !ok {
			continue
		}
		contenders = append(contenders,
			contender{key(name, many), func(ctx context.Context, _ int) (float64, error) {
				r, cost, err := w.load(ctx, wrk, many, b.scale.warmRun)
				costs[cpuKey(name)] = append(costs[cpuKey(name)], cost)
				return r.Rate(), err
			}},
			contender{key(name, 1), func(ctx context.Context, _ int) (float64, error) {
				r, _, err := w.load(ctx, wrk, 1, b.scale.warmRun)
				return r.P50US, err
			}})
	}
	r := interleave(ctx, b.scale.warmRounds, contenders)
	maps.Copy(r.samples, costs)
	return r.samples, r.err()
}

func key(name string, connections int) string { return fmt.Sprint(name, " ", connections) }

func cpuKey(name string) string { return name + " cpu" }

// load runs wrk and returns also the microseconds of processor time that the
// proxy took for each request.
func (w way) load(ctx context.Context, wrk *load.Wrk, connections int, d time.Duration) (load.Report, float64, error) {
	before, err := w.cpu()
	if err != nil {
		return load.Report{}, 0, err
	}
	r, err := wrk.Run(ctx, w.url, connections, d)
	if err != nil {
		return r, 0, err
	}
	after, err := w.cpu()
	return r, float64((after - before).Microseconds()) / float64(r.Requests), err
}

func (w way) cpu() (sum time.Duration, err error) {
	for _, pid := range w.pids {
		used, err := proc.CPU(pid)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

func warmRows(ways map[string]way, samples map[string]measure.Sample) []measure.Row {
	get := func(way string, connections int) measure.Sample { return samples[key(way, connections)] }
	rate := measure.Compare(warmRate, "requests/s", get("ours", many), nginx, get(nginx, many), measure.AtLeast(1))
	p50 := measure.Compare(warmP50, "µs", get("ours", 1), nginx, get(nginx, 1), measure.AtMost(1))
	direct := get("direct", many)
	if _, ok := ways[nginx]; !ok {
		const why = "nginx does not run here; apt-get install nginx-light"
		rate, p50 = rate.Invalid(why), p50.Invalid(why)
	} else if over := direct.Median() / get(nginx, many).Median(); over < validDirect {
		why := fmt.Sprintf("direct is only %.2f times nginx, not %g: the function or the load generator is what was measured", over, validDirect)
		rate, p50 = rate.Invalid(why), p50.Invalid(why)
	}
	rows := []measure.Row{
		rate.Noted("direct: %.0f requests/s", direct.Median()),
		p50.Noted("direct: %.0f µs", get("direct", 1).Median()),
		measure.Compare(warmCPU, "µs", samples[cpuKey("ours")], nginx, samples[cpuKey(nginx)], nil),
	}
	if _, ok := ways[nginxSame]; ok {
		rows = append(rows,
			measure.Compare(warmRate, "requests/s", get("ours", many), nginxSame, get(nginxSame, many), nil),
			measure.Compare(warmP50, "µs", get("ours", 1), nginxSame, get(nginxSame, 1), nil),
			measure.Compare(warmCPU, "µs", samples[cpuKey("ours")], nginxSame, samples[cpuKey(nginxSame)], nil))
	}
	const peer = "ours, bare process"
	if _, ok := ways["gvisor"]; !ok {
		const why = "gVisor does not run here; see unifaas doctor"
		return append(rows, measure.Missing(gvisorRate, "requests/s", peer, nil, why), measure.Missing(gvisorP50, "µs", peer, nil, why))
	}
	return append(rows,
		measure.Compare(gvisorRate, "requests/s", get("gvisor", many), peer, get("ours", many), nil),
		measure.Compare(gvisorP50, "µs", get("gvisor", 1), peer, get("ours", 1), nil))
}
