package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/test/bench/measure"
)

const (
	// measuredInstances are as many functions with an instance each, whose
	// program is one file.
	measuredInstances = 5
	// settle is how long an instance is idle before it is measured.
	settle = time.Second
	// privateLimitMiB is for everything of an instance, its init included.
	privateLimitMiB = 4
)

// A private is the memory of an instance that nobody else has, in MiB.
type private struct {
	clean, dirty float64
	processes    int
}

func (p private) sum() float64 { return p.clean + p.dirty }

// instance measures the memory of an idle instance that has served.
func (b *bench) instance(ctx context.Context) ([]measure.Row, error) {
	const sandbox = "container"
	if only := b.options.sandboxes; len(only) > 0 && !slices.Contains(only, sandbox) {
		return nil, nil
	}
	name := fmt.Sprintf("private memory of an idle instance after %d requests, %s", b.scale.requests, sandbox)
	f := b.newField("instance")
	functions := map[string]function{}
	for n := range measuredInstances {
		functions[measured(n)] = function{sandbox: sandbox, port: functionPort, concurrency: 1, cpus: 1}
	}
	missing := func(err error) []measure.Row {
		return []measure.Row{measure.Missing(name, "MiB", "limit", measure.AtMost(1), err.Error())}
	}
	p, err := f.platform(ctx, sandbox, functions)
	if err != nil {
		b.say("without %s: %v", sandbox, err)
		return missing(err), f.close()
	}
	alone, together, err := b.measureInstances(ctx, p)
	err = errors.Join(err, f.close())
	if len(together) == 0 {
		return missing(err), err
	}
	var sums, dirty measure.Sample
	for _, p := range together {
		sums, dirty = append(sums, p.sum()), append(dirty, p.dirty)
	}
	row := measure.Limit(name, "MiB", sums, privateLimitMiB).Noted(
		"%d instances of one program, %d processes each; dirty %.2f MiB; the first while it was alone %.2f MiB, dirty %.2f",
		len(together), together[0].processes, dirty.Median(), alone.sum(), alone.dirty)
	return []measure.Row{row}, err
}

func measured(n int) string { return fmt.Sprintf("m%d", n) }

// measureInstances starts the instances one after the other. It returns the
// memory of the first while there was no other, and in the end that of each.
func (b *bench) measureInstances(ctx context.Context, p *platform) (alone private, together []private, err error) {
	for n := range measuredInstances {
		if err := b.serve(ctx, p, measured(n)); err != nil {
			return alone, nil, err
		}
		if err := p.awaitInstances(ctx, n+1); err != nil {
			return alone, nil, err
		}
		if n > 0 {
			continue
		}
		first, err := privateOfAll(ctx, p)
		if err != nil {
			return alone, nil, err
		}
		alone = first[0]
	}
	together, err = privateOfAll(ctx, p)
	return alone, together, err
}

// serve sends the requests to a function, one after the other on a connection.
func (b *bench) serve(ctx context.Context, p *platform, function string) error {
	client := &http.Client{Timeout: startLimit, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	url := "http://" + p.gateway + "/invoke/" + function + helloPath
	for range b.scale.requests {
		if _, err := timeRequest(ctx, client, url); err != nil {
			return err
		}
	}
	return nil
}

// privateOfAll returns the memory of each instance of p, after a moment.
func privateOfAll(ctx context.Context, p *platform) ([]private, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(settle):
	}
	instances, err := p.control.Instances(ctx)
	if err != nil {
		return nil, err
	}
	var all []private
	for _, i := range instances {
		one, err := privateOf(i.ID)
		if err != nil {
			return nil, fmt.Errorf("measure instance %q: %w", i.ID, err)
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return nil, errors.New("there is no instance to measure")
	}
	return all, nil
}

// privateOf adds up the processes in the control groups that have an
// instance's name.
func privateOf(id string) (sum private, err error) {
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return sum, err
	}
	for _, group := range groups {
		text, err := os.ReadFile(group)
		if gone(err) || err == nil && !strings.Contains(string(text), "/"+id) {
			continue
		}
		if err != nil {
			return sum, err
		}
		rollup, err := os.ReadFile(filepath.Join(filepath.Dir(group), "smaps_rollup"))
		if gone(err) {
			continue
		}
		if err != nil {
			return sum, err
		}
		one, err := parseRollup(string(rollup))
		if err != nil {
			return sum, err
		}
		sum.clean, sum.dirty, sum.processes = sum.clean+one.clean, sum.dirty+one.dirty, sum.processes+1
	}
	if sum.processes == 0 {
		return sum, errors.New("no process is in a control group of its name")
	}
	return sum, nil
}

// gone tells of a process that has ended meanwhile.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }

// parseRollup reads /proc/PID/smaps_rollup, proc_pid_smaps(5): values are in
// KiB. Huge pages of hugetlbfs, which are counted beside, are dirty ones.
func parseRollup(text string) (p private, err error) {
	found := 0
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		var into *float64
		switch name {
		case "Private_Clean":
			into, found = &p.clean, found+1
		case "Private_Dirty":
			into, found = &p.dirty, found+1
		case "Private_Hugetlb":
			into = &p.dirty
		default:
			continue
		}
		var kib float64
		if _, err := fmt.Sscanf(strings.TrimSpace(value), "%f kB", &kib); err != nil {
			return p, fmt.Errorf("read %q of a process's memory: %w", strings.TrimSpace(line), err)
		}
		*into += kib / 1024
	}
	if found != 2 {
		return p, errors.New("a process's memory map has no Private_Clean or Private_Dirty")
	}
	return p, nil
}
