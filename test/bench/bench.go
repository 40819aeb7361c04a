package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/test/bench/measure"
	"github.com/unifaas/unifaas/test/bench/proc"
)

// A leg is one part of the benchmark. Its function returns rows even when it
// fails half-way, for what was measured.
type leg struct {
	name string
	run  func(*bench, context.Context) ([]measure.Row, error)
}

// legs in the order in which they run: those that are disturbed most by a
// warm machine first.
func legs() []leg {
	return []leg{
		{"memory", (*bench).memory},
		{"cold", (*bench).cold},
		{"burst", (*bench).burst},
		{"instance", (*bench).instance},
		{"machine", (*bench).machine},
		{"warm", (*bench).warm},
		{"soak", (*bench).soak},
	}
}

func legNames() []string {
	var names []string
	for _, l := range legs() {
		names = append(names, l.name)
	}
	return names
}

// scale is how much is measured.
type scale struct {
	warmRounds  int
	warmRun     time.Duration // of one program in one round; whole seconds
	coldRounds  int
	burstRounds int
	burst       int // starts at once
	functions   int // registered, for the memory of an idle platform
	idle        time.Duration
	instances   int // warm, for the memory under load
	requests    int // to an instance whose memory is measured
	soak        time.Duration
	soakRate    int // requests per second
	calibration time.Duration
}

func fullScale() scale {
	return scale{
		warmRounds: 9, warmRun: 3 * time.Second, coldRounds: 25, burstRounds: 3, burst: 100,
		functions: 1000, idle: time.Minute, instances: 100, requests: 1000, soak: 5 * time.Minute, soakRate: 5000,
		calibration: 10 * time.Second,
	}
}

func quickScale() scale {
	s := fullScale()
	s.warmRounds, s.warmRun, s.coldRounds, s.burstRounds = 2, time.Second, 3, 1
	s.idle, s.soak, s.calibration = 10*time.Second, 20*time.Second, 3*time.Second
	return s
}

// A bench is one run.
type bench struct {
	options options
	scale   scale
	work    string // folder of everything, removed at the end
	runs    string // the run folders of the platforms
	unifaas string // absolute path of the platform
	program string // the benchmark function, a static binary
	rev     *faas.Revision
	group   *proc.Group
}

func runLegs(ctx context.Context, o options) (rows []measure.Row, facts *host, err error) {
	b, err := newBench(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	facts = newHost(ctx, b)
	var errs []error
	for _, l := range legs() {
		if len(o.only) > 0 && !slices.Contains(o.only, l.name) {
			continue
		}
		before, begin := loadAverage(), time.Now()
		b.say("%s", l.name)
		more, err := l.run(b, ctx)
		rows = append(rows, more...)
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", l.name, err))
		}
		facts.Legs = append(facts.Legs, legFacts{l.name, time.Since(begin).Seconds(), before, loadAverage()})
	}
	facts.finish()
	return rows, facts, errors.Join(errs...)
}

// inMemory is where the platforms' run folders are: their default, /run, is in
// memory on users' machines, and may be on disk in a container or a small VM.
const inMemory = "/dev/shm"

func newBench(ctx context.Context, o options) (_ *bench, err error) {
	b := &bench{options: o, scale: fullScale()}
	if o.quick {
		b.scale = quickScale()
	}
	if b.unifaas, err = filepath.Abs(o.unifaas); err != nil {
		return nil, err
	}
	if _, err := os.Stat(b.unifaas); err != nil {
		return nil, fmt.Errorf("no platform to measure; make build, or name it with -unifaas: %w", err)
	}
	if b.work, err = os.MkdirTemp("", "unifaas-bench-"); err != nil {
		return nil, err
	}
	if b.runs, err = os.MkdirTemp(inMemory, "unifaas-bench-"); err != nil {
		return nil, errors.Join(err, os.Remove(b.work))
	}
	logs := filepath.Join(b.work, "logs")
	if err := os.Mkdir(logs, 0o700); err != nil {
		return nil, err
	}
	b.group = proc.NewGroup(logs)
	b.program, err = b.build(ctx, "benchmark", "./functions/benchmark")
	if err == nil {
		b.rev, err = b.revision()
	}
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// build compiles a package of this module into a static binary.
func (b *bench) build(ctx context.Context, name, pkg string) (string, error) {
	out := filepath.Join(b.work, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if words, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", pkg, err, words)
	}
	return out, nil
}

// close stops everything and removes the working folder. The platforms were
// stopped by their legs unless those failed.
func (b *bench) close() error {
	err := b.group.Close()
	err = errors.Join(err, os.RemoveAll(b.runs))
	if b.options.keep || err != nil {
		b.say("logs are kept in %s", b.work)
		return err
	}
	return os.RemoveAll(b.work)
}

// say tells people how far it is.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
}

// dir makes a folder for one part of the run.
func (b *bench) dir(name string) (string, error) {
	path := filepath.Join(b.work, name)
	return path, os.Mkdir(path, 0o700)
}
