package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// driver starts functions as processes of this one. It isolates nothing, and
// recovers nothing: its instances end with the platform. A function whose
// environment has no PORT is given one that is free.
type driver struct{}

func (driver) Name() string { return "process" }

func (driver) Probe(context.Context) sandbox.Capabilities {
	return sandbox.Capabilities{Works: true, Detail: "isolates nothing", MemoryEstimate: 8 << 20}
}

func (driver) Prepare(_ context.Context, rev *faas.Revision) (sandbox.Artifact, error) {
	_, err := rev.Argv()
	return nil, err
}

func (driver) Start(_ context.Context, _ sandbox.Artifact, spec sandbox.Spec) (sandbox.Instance, error) {
	argv, err := spec.Revision.Argv()
	if err != nil {
		return nil, err
	}
	address, env, err := place(spec.Revision)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(spec.Revision.Image.Rootfs, argv[0]), argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, spec.Output, spec.Output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start process of %q: %w", spec.ID, err)
	}
	i := &instance{id: spec.ID, address: address, process: cmd.Process, done: make(chan struct{})}
	go i.wait()
	return i, nil
}

// place returns where an instance of rev will listen, and its environment.
func place(rev *faas.Revision) (string, []string, error) {
	env := rev.Environ()
	if port, ok := rev.Function.Env["PORT"]; ok {
		return net.JoinHostPort("127.0.0.1", port), env, nil
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	address := ln.Addr().(*net.TCPAddr)
	return address.String(), append(env, "PORT="+strconv.Itoa(address.Port)), ln.Close()
}

func (driver) Recover(context.Context, sandbox.Record) (sandbox.Instance, error) {
	return nil, sandbox.ErrGone
}

type instance struct {
	id      string
	address string
	process *os.Process
	kill    sync.Once
	done    chan struct{}
	exit    sandbox.Exit
}

func (i *instance) wait() {
	state, err := i.process.Wait()
	i.exit = sandbox.Exit{Code: -1, At: time.Now()}
	if err != nil {
		i.exit.Reason = err.Error()
	} else {
		i.exit.Code, i.exit.Reason = state.ExitCode(), state.String()
	}
	close(i.done)
}

func (i *instance) ID() string { return i.id }

func (i *instance) Done() <-chan struct{} { return i.done }

func (i *instance) Wait() sandbox.Exit {
	<-i.done
	return i.exit
}

func (i *instance) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", i.address)
}

func (i *instance) Ready(ctx context.Context) error {
	for {
		conn, err := i.Dial(ctx)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-i.done:
			return fmt.Errorf("process ended: %s", i.exit)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

func (i *instance) Stop(ctx context.Context) error {
	i.kill.Do(func() { _ = i.process.Kill() }) // it may have ended by itself
	select {
	case <-i.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
