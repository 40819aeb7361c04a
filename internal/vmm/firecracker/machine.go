package firecracker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/host/process"
	"github.com/unifaas/unifaas/internal/vmm"
	"github.com/unifaas/unifaas/internal/vmm/firecracker/api"
)

// errEnded says that Firecracker has ended while something was asked of it.
var errEnded = errors.New("firecracker has ended")

// A machine is one Firecracker. It implements [vmm.Machine] and [vmm.Vsocker].
type machine struct {
	dir     string // the machine's own, given by the caller
	home    home
	handle  *process.Handle
	client  *api.Client
	journal *journal
	// letLogEnd closes the log's end that is held until Firecracker has its
	// own, see makeLog. It is idempotent.
	letLogEnd func()

	states sync.Mutex // held while the machine's state is changed

	done    chan struct{} // closed when the process has ended, after exit is set
	exit    vmm.Exit
	watched chan struct{} // closed when nobody watches any more

	closing sync.Once
	closed  chan struct{}
}

var (
	_ vmm.Machine = (*machine)(nil)
	_ vmm.Vsocker = (*machine)(nil)
)

func newMachine(dir string, h home, handle *process.Handle, j *journal, letLogEnd func()) *machine {
	return &machine{
		dir: dir, home: h, handle: handle, client: api.New(h.path(apiName)), journal: j, letLogEnd: letLogEnd,
		done: make(chan struct{}), watched: make(chan struct{}), closed: make(chan struct{}),
	}
}

// watch waits for the process's end, and undoes its home.
func (m *machine) watch() {
	defer close(m.watched)
	status, known := m.handle.Wait()
	select {
	case <-m.closed:
		if !known {
			return // let go: it may well go on
		}
	default:
	}
	m.letLogEnd()
	m.exit = classify(status, known, m.journal.lastWords())
	if err := m.home.remove(m.dir); err != nil {
		m.exit.Reason += fmt.Sprintf(" (its home is left: %v)", err)
	}
	close(m.done)
}

// Process is Firecracker's, which the jailer has become.
func (m *machine) Process() process.Identity { return m.handle.Identity }

// Done is closed when Firecracker has ended.
func (m *machine) Done() <-chan struct{} { return m.done }

// Wait tells how Firecracker has ended. For a machine that was let go before,
// it returns at once.
func (m *machine) Wait() vmm.Exit {
	select {
	case <-m.done:
		return m.exit
	case <-m.watched:
	}
	select {
	case <-m.done:
		return m.exit
	default:
		return vmm.Exit{Code: -1, Reason: errLetGo.Error(), At: time.Now()}
	}
}

// errLetGo is the answer of a machine that has been closed.
var errLetGo = errors.New("the machine was let go")

// Kill ends Firecracker.
func (m *machine) Kill(ctx context.Context) error {
	select {
	case <-m.done:
		return nil
	case <-m.closed:
		return errLetGo
	default:
	}
	if err := m.handle.Signal(unix.SIGKILL); err != nil {
		return fmt.Errorf("kill firecracker %d: %w", m.handle.Pid, err)
	}
	select {
	case <-m.done:
		return nil
	case <-m.closed:
		return errLetGo
	case <-ctx.Done():
		return fmt.Errorf("kill firecracker %d: %w", m.handle.Pid, context.Cause(ctx))
	}
}

// Close lets go of the machine. It is idempotent.
func (m *machine) Close() error {
	m.closing.Do(func() {
		close(m.closed)
		m.handle.Close()
		<-m.watched
		m.journal.close()
	})
	return m.client.Close()
}

// explain adds to why something failed how Firecracker has ended, if it has.
func (m *machine) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil || !isHangUp(err) {
		return err
	}
	select {
	case <-m.done:
		return fmt.Errorf("%w: %s", err, m.exit.Reason)
	case <-time.After(endGrace):
		return err
	}
}

// isHangUp reports whether an error is what the end of a process looks like.
func isHangUp(err error) bool {
	for _, end := range []error{errEnded, io.ErrUnexpectedEOF, unix.EPIPE, unix.ECONNRESET, unix.ECONNREFUSED, unix.ENOENT} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// endGrace is how long a process takes to end whose socket has closed.
const endGrace = time.Second

// Pause stops the guest's processors.
func (m *machine) Pause(ctx context.Context) error {
	m.states.Lock()
	defer m.states.Unlock()
	_, err := m.pause(ctx)
	return err
}

// Resume lets them go on.
func (m *machine) Resume(ctx context.Context) error {
	m.states.Lock()
	defer m.states.Unlock()
	return m.resume(ctx)
}

// pause tells whether the guest was running.
func (m *machine) pause(ctx context.Context) (ran bool, err error) {
	i, err := m.client.Describe(ctx)
	if err == nil && i.State != api.Paused {
		ran, err = true, m.client.PauseVM(ctx)
	}
	if err != nil {
		return false, fmt.Errorf("pause machine: %w", m.explain(ctx, err))
	}
	return ran, nil
}

// resume asks for the state first: resuming what runs is not harmless to the
// vsock device of some versions (#6100 in Firecracker's CHANGELOG.md).
func (m *machine) resume(ctx context.Context) error {
	i, err := m.client.Describe(ctx)
	if err == nil && i.State != api.Running {
		err = m.client.ResumeVM(ctx)
	}
	if err != nil {
		return fmt.Errorf("resume machine: %w", m.explain(ctx, err))
	}
	return nil
}
