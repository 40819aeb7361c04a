package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/test/bench/proc"
)

// A platform is one of ours that runs.
type platform struct {
	*proc.Process
	control *control.Client
	client  *http.Client // makes a connection for each request
	gateway string       // host:port
}

// newClient returns a client for a platform in the network namespace ns.
func newClient(ns *os.File) *http.Client {
	dial := func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = proc.InNetNS(ns, func() error {
			conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}, Timeout: startLimit}
}

// hello returns the URL of helloPath of the function "benchmark".
func (p *platform) hello() string {
	return "http://" + p.gateway + "/invoke/benchmark" + helloPath
}

// startPlatform starts a platform that serves functions, with a state of its
// own and everything else by default, and waits until it serves. args stand
// before the flags that all platforms are started with.
func (b *bench) startPlatform(ctx context.Context, name, exe string, functions map[string]function, at place, args ...string) (*platform, error) {
	dir, err := b.dir(name)
	if err != nil {
		return nil, err
	}
	folder, run := filepath.Join(dir, "functions"), filepath.Join(b.runs, name)
	if err := b.writeFunctions(folder, functions); err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, append(args, "--functions", folder, "--listen", "127.0.0.1:0",
		"--admin-listen", "127.0.0.1:0", "--state-dir", filepath.Join(dir, "state"), "--run-dir", run)...)
	cmd.Env = append(environment(), at.env...)
	started, err := b.group.Start(name, cmd, proc.Options{Grace: 2 * time.Minute, NetNS: at.netns})
	if err != nil {
		return nil, err
	}
	p := &platform{Process: started, control: control.NewClient(run), client: newClient(at.netns)}
	err = await(ctx, p, loadDeadline, "serve its functions", func(ctx context.Context) (bool, error) {
		status, err := p.control.Status(ctx)
		p.gateway = status.Gateway
		return status.Ready && status.Functions == len(functions), err
	})
	return p, err
}

// startUnifaas starts the product.
func (b *bench) startUnifaas(ctx context.Context, name string, functions map[string]function, at place) (*platform, error) {
	config, err := b.emptyConfig()
	if err != nil {
		return nil, err
	}
	return b.startPlatform(ctx, name, b.unifaas, functions, at, "--config", config, "up")
}

// emptyConfig makes a configuration: the machine's own must not count.
func (b *bench) emptyConfig() (string, error) {
	config := filepath.Join(b.work, "unifaas.toml")
	return config, os.WriteFile(config, nil, 0o600)
}

// examine returns why a sandbox does not work at a place, as the platform's
// doctor says. name is that of a folder for it.
func (b *bench) examine(ctx context.Context, name, sandbox string, at place) error {
	config, err := b.emptyConfig()
	if err != nil {
		return err
	}
	dir, err := b.dir(name)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, b.unifaas, "--config", config, "doctor", "--json",
		"--state-dir", filepath.Join(dir, "state"), "--run-dir", filepath.Join(b.runs, name))
	cmd.Env = append(environment(), at.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &complaint
	if err := proc.InNetNS(at.netns, cmd.Start); err != nil {
		return err
	}
	status := cmd.Wait() // an error where no sandbox works; the words count
	var found []control.Sandbox
	if err := json.Unmarshal(said.Bytes(), &found); err != nil {
		return fmt.Errorf("ask doctor: %w: %s", errors.Join(status, err), bytes.TrimSpace(complaint.Bytes()))
	}
	return verdict(found, sandbox)
}

func verdict(found []control.Sandbox, sandbox string) error {
	for _, s := range found {
		switch {
		case s.Name != sandbox:
		case s.Works:
			return nil
		case s.Remedy != "":
			return fmt.Errorf("sandbox %s: %s; %s", sandbox, s.Reason, s.Remedy)
		default:
			return fmt.Errorf("sandbox %s: %s", sandbox, s.Reason)
		}
	}
	return fmt.Errorf("doctor knows no sandbox %s", sandbox)
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
