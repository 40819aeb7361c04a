package proc

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// A Process is a child of the benchmark. Its methods may be called
// concurrently.
type Process struct {
	name  string
	cmd   *exec.Cmd
	log   string
	grace time.Duration
	done  chan struct{}
}

// Pid returns the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

func (p *Process) wait() {
	_ = p.cmd.Wait() // its status is in ProcessState, which Failure shows
	close(p.done)
}

// Stop ends the process: SIGTERM, and SIGKILL once its grace has passed. It
// returns when the process has ended, and tells when that took force.
func (p *Process) Stop() error {
	// os.Process knows whether it was waited for, so that no other process
	// that has got the pid meanwhile is ever signalled.
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(p.grace):
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	if p.grace > 0 {
		return fmt.Errorf("%s (pid %d) did not end within %v of SIGTERM and was killed", p.name, p.Pid(), p.grace)
	}
	return nil
}

// Failure returns an error with the process's status and its last words.
func (p *Process) Failure(what string) error {
	state := "still runs"
	select {
	case <-p.done:
		state = p.cmd.ProcessState.String()
	default:
	}
	return fmt.Errorf("%s: %s (%s): %s", p.name, what, state, p.Tail())
}

// Tail returns the last lines that the process has written, at most 1 KiB.
func (p *Process) Tail() string {
	f, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }()
	const most = 1 << 10
	info, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	b := make([]byte, most)
	n, _ := f.ReadAt(b, max(0, info.Size()-most))
	return string(bytes.TrimSpace(b[:n]))
}
