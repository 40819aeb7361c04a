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
	"strconv"
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
	// cached is the part of clean that is files': pages of the kernel's cache
	// that no other process happens to have mapped. They are there for the next
	// instance, too, and the kernel takes them back without writing anything.
	cached    float64
	shared    float64 // of each process, with whomever
	processes int
}

func (p private) sum() float64 { return p.clean + p.dirty }

// own is what would go with the instance.
func (p private) own() float64 { return p.sum() - p.cached }

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
	p, err := f.platform(ctx, sandbox, "", functions)
	if err != nil {
		b.say("without %s: %v", sandbox, err)
		return missing(err), f.close()
	}
	alone, together, err := b.measureInstances(ctx, p, measuredInstances)
	err = errors.Join(err, f.close())
	if len(together) == 0 {
		return missing(err), err
	}
	return instanceRows(name, alone, together), err
}

// instanceRows judges what each of several instances has to itself, as a
// machine with instances of a function has it, and tells beside it what a
// single one has, with and without the program's own pages.
func instanceRows(name string, alone private, together []private) []measure.Row {
	var sums, dirty measure.Sample
	for _, p := range together {
		sums, dirty = append(sums, p.sum()), append(dirty, p.dirty)
	}
	single := func(what string, value float64) measure.Row {
		return measure.Limit(name+", "+what, "MiB", measure.Sample{value}, privateLimitMiB).Unjudged()
	}
	return []measure.Row{
		measure.Limit(name, "MiB", sums, privateLimitMiB).Noted("%d instances of one program, %d processes each; dirty %.2f MiB",
			len(together), together[0].processes, dirty.Median()),
		single("alone, without cached pages of files", alone.own()).Noted("dirty %.2f MiB", alone.dirty),
		single("alone, program text counted", alone.sum()).Noted(
			"%.2f MiB are pages of the program's file in the kernel's cache, which count as private while nobody else runs it", alone.cached),
	}
}

func measured(n int) string { return fmt.Sprintf("m%d", n) }

// measureInstances starts so many instances one after the other. It returns the
// memory of the first while there was no other, and in the end that of each.
func (b *bench) measureInstances(ctx context.Context, p *platform, many int) (alone private, together []private, err error) {
	for n := range many {
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
		maps, err := os.ReadFile(filepath.Join(filepath.Dir(group), "smaps"))
		if gone(err) {
			continue
		}
		if err != nil {
			return sum, err
		}
		one, err := parseMaps(string(maps))
		if err != nil {
			return sum, err
		}
		sum.clean, sum.dirty, sum.cached = sum.clean+one.clean, sum.dirty+one.dirty, sum.cached+one.cached
		sum.shared += one.shared
		sum.processes++
	}
	if sum.processes == 0 {
		return sum, errors.New("no process is in a control group of its name")
	}
	return sum, nil
}

// gone tells of a process that has ended meanwhile.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }

// parseMaps reads /proc/PID/smaps, proc_pid_smaps(5): a line for each mapping
// and below it what it takes, in KiB. Huge pages of hugetlbfs, which are counted
// beside, are dirty ones.
func parseMaps(text string) (p private, err error) {
	found, file := 0, false
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 {
			return p, fmt.Errorf("strange line %q in a process's memory map", line)
		}
		if !strings.HasSuffix(words[0], ":") { // address perms offset device inode path
			file = len(words) >= 5 && words[4] != "0"
			continue
		}
		var into *float64
		switch words[0] {
		case "Private_Clean:":
			into, found = &p.clean, found+1
		case "Private_Dirty:":
			into, found = &p.dirty, found+1
		case "Private_Hugetlb:":
			into = &p.dirty
		case "Shared_Clean:", "Shared_Dirty:":
			into = &p.shared
		default:
			continue
		}
		kib, err := strconv.ParseFloat(words[1], 64)
		if err != nil {
			return p, fmt.Errorf("read %q of a process's memory: %w", strings.TrimSpace(line), err)
		}
		*into += kib / 1024
		if file && into == &p.clean {
			p.cached += kib / 1024
		}
	}
	if found == 0 || found%2 != 0 {
		return p, errors.New("a process's memory map has no Private_Clean or Private_Dirty")
	}
	return p, nil
}
