package vm

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/unifaas/unifaas/internal/callback"
	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest/linux/control"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/host/tapnet"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/vmm"
)

// An instance is one virtual machine with one function in it.
type instance struct {
	driver *Driver
	id     string
	dir    string // the machine's own folder; "" when it has none yet
	fn     *faas.Function
	memory int64 // of the guest, bytes
	uid    int   // of the monitor, 0 while it has none
	// byVsock says that the guest has no network, and is reached by vsock.
	byVsock bool

	group   *cgroup.Group
	network *tapnet.Network
	machine vmm.Machine    // nil: there is none
	monitor vmm.Monitor    // of an earlier run's machine; nil: of this run's
	agent   *control.Guest // nil: the guest has none
	console *console       // nil: the guest's console is its output
	conns   conns
	boot    bootPhases
	trace   func(phase string, at time.Time) // until it is ready; nil: nobody asks
	output  *os.File                         // what the agent tells is written to; nil without one
	calls   *callback.Server
	call    *callback.Call // nil: none is expected

	done chan struct{} // nil: nobody watches it
	exit sandbox.Exit  // valid once done is closed

	stopMu  sync.Mutex // serialises release
	stopped bool
}

// ID returns the instance's name.
func (i *instance) ID() string { return i.id }

// Done is closed when the function has ended.
func (i *instance) Done() <-chan struct{} { return i.done }

// Wait blocks until the function has ended and tells how.
func (i *instance) Wait() sandbox.Exit {
	<-i.done
	return i.exit
}

// Stats measures the machine, its monitor included, by its control group.
func (i *instance) Stats(context.Context) (sandbox.Stats, error) {
	s, err := i.group.Stats()
	if err != nil {
		return sandbox.Stats{}, err
	}
	return sandbox.Stats{Memory: s.Memory, CPU: s.CPU, Pids: s.Pids}, nil
}

// Dial opens a connection to the function's port.
func (i *instance) Dial(ctx context.Context) (net.Conn, error) {
	if i.hasEnded() {
		return nil, i.ended()
	}
	dialing, end := i.conns.dial(ctx)
	defer end()
	conn, err := i.connect(dialing)
	switch {
	case err == nil:
		return i.known(conn)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case i.hasEnded():
		return nil, i.ended()
	default:
		return nil, faas.Errorf(faas.KindBroken, "connect to port %d of instance %q: %w", i.fn.Port, i.id, err)
	}
}

func (i *instance) connect(ctx context.Context) (net.Conn, error) {
	if !i.byVsock {
		return i.network.Dial(ctx, uint16(i.fn.Port))
	}
	v, err := i.vsock()
	if err != nil {
		return nil, err
	}
	return v.DialVsock(ctx, uint32(i.fn.Port))
}

func (i *instance) vsock() (vmm.Vsocker, error) {
	v, ok := i.machine.(vmm.Vsocker)
	if !ok {
		return nil, errors.New("its monitor has no vsock")
	}
	return v, nil
}

// known returns a connection that ends with the guest. One by vsock does by
// itself: the monitor is its other end.
func (i *instance) known(conn net.Conn) (net.Conn, error) {
	if tcp, ok := conn.(*net.TCPConn); ok && !i.conns.add(tcp) {
		_ = conn.Close()
		<-i.done
		return nil, i.ended()
	}
	return conn, nil
}

func (i *instance) ended() error {
	return faas.Errorf(faas.KindBroken, "instance %q has ended: %s", i.id, i.exit)
}

func (i *instance) hasEnded() bool {
	select {
	case <-i.done:
		return true
	default:
		return false
	}
}
