package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// A Group starts processes and ends them together, the last started first.
// Its methods may be called concurrently.
type Group struct {
	logs  string
	spawn chan func() // runs on one thread that lives as long as the group

	mu      sync.Mutex
	running []*Process
	closed  bool
}

// NewGroup returns a group whose processes write what they say to files in
// the folder logs, which must exist.
func NewGroup(logs string) *Group {
	g := &Group{logs: logs, spawn: make(chan func())}
	go func() {
		// The signal that a child asked for at its parent's death comes at
		// the death of the parent's thread.
		runtime.LockOSThread()
		for f := range g.spawn {
			f()
		}
	}()
	return g
}

// Options say how a process is started and stopped.
type Options struct {
	// Grace is how long it may take to end after SIGTERM before it is killed.
	Grace time.Duration
	// NetNS is the network namespace to start it in; nil is ours.
	NetNS *os.File
}

var errClosed = errors.New("the benchmark is ending")

// Start starts cmd under a name that is its log's, too. Standard output and
// error go to the log; cmd must have neither.
func (g *Group) Start(name string, cmd *exec.Cmd, o Options) (*Process, error) {
	log, err := os.OpenFile(filepath.Join(g.logs, name+".log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// A group of its own: an interrupt typed at a terminal is for the
	// benchmark, which then stops the process in its turn.
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM

	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, fmt.Errorf("start %s: %w", name, errClosed)
	}
	started := make(chan error)
	g.spawn <- func() { started <- InNetNS(o.NetNS, cmd.Start) }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Process{name: name, cmd: cmd, log: log.Name(), grace: o.Grace, done: make(chan struct{})}
	go p.wait()
	g.running = append(g.running, p)
	return p, nil
}

// StopAll stops every process that still runs and waits for their ends. Others
// can be started afterwards.
func (g *Group) StopAll() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	for _, p := range slices.Backward(g.running) {
		errs = append(errs, p.Stop())
	}
	g.running = nil
	return errors.Join(errs...)
}

// Close is StopAll for good: afterwards nothing can be started. It may be
// called more than once.
func (g *Group) Close() error {
	g.mu.Lock()
	again := g.closed
	g.closed = true
	g.mu.Unlock()
	err := g.StopAll()
	if !again {
		close(g.spawn)
	}
	return err
}
