package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/test/bench/proc"
)

// A platform is one of ours that runs.
type platform struct {
	*proc.Process
	control *control.Client
	gateway string // host:port
}

// hello returns the URL of helloPath of the function "benchmark".
func (p *platform) hello() string {
	return "http://" + p.gateway + "/invoke/benchmark" + helloPath
}

// startPlatform starts a platform that serves functions, with a state of its
// own and everything else by default, and waits until it serves. args stand
// before the flags that all platforms are started with.
func (b *bench) startPlatform(ctx context.Context, name, exe string, functions map[string]function, args ...string) (*platform, error) {
	dir, err := b.dir(name)
	if err != nil {
		return nil, err
	}
	folder, run := filepath.Join(dir, "functions"), filepath.Join(dir, "run")
	if err := b.writeFunctions(folder, functions); err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, append(args, "--functions", folder, "--listen", "127.0.0.1:0",
		"--admin-listen", "127.0.0.1:0", "--state-dir", filepath.Join(dir, "state"), "--run-dir", run)...)
	cmd.Env = environment()
	started, err := b.group.Start(name, cmd, proc.Options{Grace: 2 * time.Minute})
	if err != nil {
		return nil, err
	}
	p := &platform{Process: started, control: control.NewClient(run)}
	err = await(ctx, p, loadDeadline, "serve its functions", func(ctx context.Context) (bool, error) {
		status, err := p.control.Status(ctx)
		p.gateway = status.Gateway
		return status.Ready && status.Functions == len(functions), err
	})
	return p, err
}

// startUnifaas starts the product.
func (b *bench) startUnifaas(ctx context.Context, name string, functions map[string]function) (*platform, error) {
	config := filepath.Join(b.work, "unifaas.toml") // the machine's own must not count
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		return nil, err
	}
	return b.startPlatform(ctx, name, b.unifaas, functions, "--config", config, "up")
}

// environment is ours without what would configure a platform.
func environment() []string {
	var env []string
	for _, kv := range os.Environ() {
		if len(kv) < 8 || kv[:8] != "UNIFAAS_" {
			env = append(env, kv)
		}
	}
	return env
}

const (
	// loadDeadline is for a platform to serve all of its functions.
	loadDeadline = 5 * time.Minute
	// settleDeadline is for instances to be there or to be gone, and
	// settleEach is added for each one.
	settleDeadline = 30 * time.Second
	settleEach     = 3 * time.Second
)

// await polls a platform until a condition holds.
func await(ctx context.Context, p *platform, limit time.Duration, what string, holds func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		ok, err := holds(ctx)
		if ok && err == nil {
			return nil
		}
		select {
		case <-p.Done():
			return p.Failure("ended before it could " + what)
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", p.Failure("did not "+what+" in time"), ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// awaitInstances waits until exactly n instances are there and each of them
// waits for a request.
func (p *platform) awaitInstances(ctx context.Context, n int) error {
	limit := settleDeadline + time.Duration(n)*settleEach
	return await(ctx, p, limit, fmt.Sprintf("have %d idle instances", n), func(ctx context.Context) (bool, error) {
		instances, err := p.control.Instances(ctx)
		for _, i := range instances {
			if i.State != "idle" {
				return false, err
			}
		}
		return len(instances) == n, err
	})
}
