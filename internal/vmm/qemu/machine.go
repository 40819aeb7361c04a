package qemu

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/host/process"
	"github.com/unifaas/unifaas/internal/vmm"
	"github.com/unifaas/unifaas/internal/vmm/qemu/qmp"
)

// A machine is one QEMU process.
type machine struct {
	monitor *Monitor
	process *process.Handle
	words   *words
	conn    *qmp.Conn
	shape   shape

	migration migration
	snapshot  sync.Mutex // one at a time

	mu       sync.Mutex
	told     *shutdown
	panicked bool

	exit   vmm.Exit      // when done is closed
	done   chan struct{} // closed when QEMU has ended
	closed chan struct{} // closed by Close
	close  sync.Once
}

func newMachine(m *Monitor, p *process.Handle, w *words) *machine {
	return &machine{monitor: m, process: p, words: w, done: make(chan struct{}), closed: make(chan struct{})}
}

// connect takes QEMU's socket at path. It serves one client at a time.
func (m *machine) connect(ctx context.Context, path string) error {
	var err error
	m.conn, err = qmp.Dial(ctx, path, m.event)
	return err
}

// event notes what has happened to the machine.
func (m *machine) event(e qmp.Event) {
	switch e.Name {
	case "MIGRATION":
		m.migration.note(e.Data)
	case "SHUTDOWN":
		m.mu.Lock()
		defer m.mu.Unlock()
		m.told = parseShutdown(e.Data)
	case "GUEST_PANICKED":
		m.mu.Lock()
		defer m.mu.Unlock()
		m.panicked = true
	}
}

// watch follows QEMU to its end in the background. It holds one goroutine and
// no thread.
func (m *machine) watch() {
	go func() {
		status, known := m.process.Wait()
		<-m.conn.Done() // the kernel has closed QEMU's side, or Close ours
		select {
		case <-m.closed:
			return // nothing is known
		default:
		}
		m.exit = m.end(status, known).exit()
		close(m.done)
	}()
}

// end is what is known when QEMU has ended and its last event was told.
func (m *machine) end(status unix.WaitStatus, known bool) end {
	m.mu.Lock()
	defer m.mu.Unlock()
	return end{status: status, known: known, told: m.told, panic: m.panicked, words: m.words.read()}
}

// Process implements [vmm.Machine].
func (m *machine) Process() process.Identity { return m.process.Identity }

// Done implements [vmm.Machine]. It stays open after Close.
func (m *machine) Done() <-chan struct{} { return m.done }

// Wait implements [vmm.Machine]. After Close it knows nothing.
func (m *machine) Wait() vmm.Exit {
	select {
	case <-m.done:
		return m.exit
	default:
	}
	select {
	case <-m.done:
		return m.exit
	case <-m.closed:
		return vmm.Exit{Code: -1, Reason: "the platform has let go of the machine"}
	}
}

// Kill implements [vmm.Machine].
func (m *machine) Kill(ctx context.Context) error {
	select {
	case <-m.done:
		return nil
	default:
	}
	if err := m.process.Signal(unix.SIGKILL); err != nil {
		return fmt.Errorf("kill QEMU: %w", err)
	}
	select {
	case <-m.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for QEMU's end: %w", ctx.Err())
	}
}

// Close implements [vmm.Machine].
func (m *machine) Close() error {
	m.close.Do(func() {
		close(m.closed)
		if m.conn != nil {
			_ = m.conn.Close()
		}
		m.process.Close()
		m.words.close()
	})
	return nil
}

// Pause implements [vmm.Machine].
func (m *machine) Pause(ctx context.Context) error { return m.execute(ctx, "stop", nil, nil) }

// Resume implements [vmm.Machine].
func (m *machine) Resume(ctx context.Context) error { return m.execute(ctx, "cont", nil, nil) }

// execute has a command carried out; a refusal is a [*vmm.APIError].
func (m *machine) execute(ctx context.Context, name string, arguments, result any) error {
	err := m.conn.Execute(ctx, name, arguments, result)
	var refused *qmp.Error
	if errors.As(err, &refused) {
		return &vmm.APIError{Monitor: m.monitor.Name(), Request: name, Fault: refused.Desc}
	}
	return err
}
