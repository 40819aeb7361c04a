package sandboxtest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest"
)

// crashed is how an instance ends that somebody else ended.
var crashed = sandbox.Exit{Code: -1, Signal: int(syscall.SIGKILL)}

// A fakeInstance is one server in this process. It belongs to a World, so
// that it outlives the driver that started it.
type fakeInstance struct {
	id      string
	world   *World
	options FakeOptions
	spec    sandbox.Spec
	stage   *stage // of the driver that started it

	listener  *trackedListener
	dial      dialFunc
	output    io.WriteCloser
	listening chan struct{} // closed once the program listens
	done      chan struct{} // closed once the program has ended

	mu    sync.Mutex
	held  []string
	exit  sandbox.Exit
	open  bool // the program listens
	ended bool
}

func newFakeInstance(d *Fake, spec sandbox.Spec) *fakeInstance {
	return &fakeInstance{
		id: spec.ID, world: d.options.World, options: d.options, spec: spec, stage: d.stage,
		listening: make(chan struct{}), done: make(chan struct{}),
	}
}

// acquire takes the FakeResources, one record before each.
func (i *fakeInstance) acquire(ctx context.Context) error {
	ref := i.spec.Revision.Function.Ref
	var recorded FakeState
	for _, r := range []struct {
		name string
		take func() error
	}{
		{"socket", i.listen},
		{"output", i.openOutput},
		{"process", func() error { i.world.put(i); return nil }},
	} {
		recorded.Resources = append(recorded.Resources, r.name)
		if err := i.stage.enter(StepRecord, i.id, ref).suffer(ctx); err != nil {
			return err
		}
		if err := i.spec.Record(recorded); err != nil {
			return fmt.Errorf("record %s: %w", r.name, err)
		}
		if err := i.stage.enter(StepAcquire, i.id, ref).suffer(ctx); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := r.take(); err != nil {
			return fmt.Errorf("take %s: %w", r.name, err)
		}
		i.world.hold(i.id, r.name)
		i.held = append(i.held, r.name)
		i.spec.Phase(r.name)
	}
	return nil
}

func (i *fakeInstance) listen() error {
	l, dial, err := i.options.Transport.listen(i.id)
	if err != nil {
		return err
	}
	i.listener, i.dial = &trackedListener{Listener: l}, dial
	return nil
}

// openOutput opens the log once more rather than duplicating it, so that its
// blocking mode is the instance's own and a close ends a blocked write.
func (i *fakeInstance) openOutput() error {
	if i.spec.Output == nil {
		i.output = discard{io.Discard}
		return nil
	}
	raw, err := i.spec.Output.SyscallConn()
	if err != nil {
		return err
	}
	var f *os.File
	cerr := raw.Control(func(fd uintptr) {
		f, err = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_WRONLY|syscall.O_NONBLOCK, 0)
	})
	if cerr != nil {
		return cerr
	}
	if err != nil {
		return err
	}
	i.output = f
	return nil
}

type discard struct{ io.Writer }

func (discard) Close() error { return nil }

// run is the instance's program, from its start to its end.
func (i *fakeInstance) run() {
	process := guest.Process{
		Args:    i.spec.Revision.Function.Command,
		Getenv:  i.getenv,
		Environ: i.spec.Revision.Environ,
		Stdout:  i.output,
		Stderr:  i.output,
		Done:    i.done,
		Listen:  i.startListening,
		Exit:    func(code int) { i.end(sandbox.Exit{Code: code}); runtime.Goexit() },
		Crash: func() {
			i.end(sandbox.Exit{Code: -1, Signal: int(syscall.SIGSEGV)})
			runtime.Goexit()
		},
	}
	var answer http.Handler
	if i.options.Handler != nil {
		answer = i.options.Handler(i.spec)
	} else {
		answer = guest.Handler(process)
	}
	process.Handler = i.interfere(answer)
	i.end(sandbox.Exit{Code: guest.Run(process)})
}

func (i *fakeInstance) getenv(name string) string {
	env := i.spec.Revision.Environ()
	n := slices.IndexFunc(env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
	if n < 0 {
		return ""
	}
	return env[n][len(name)+1:]
}

func (i *fakeInstance) startListening() (net.Listener, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended {
		return nil, net.ErrClosed
	}
	if !i.open {
		i.open = true
		close(i.listening)
	}
	return i.listener, nil
}

// interfere plays StepRequest before answer.
func (i *fakeInstance) interfere(answer http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fault := i.stage.enter(StepRequest, i.id, i.spec.Revision.Function.Ref)
		if err := i.play(r.Context(), fault); err != nil {
			panic(http.ErrAbortHandler)
		}
		answer.ServeHTTP(w, r)
	})
}

// play goes through fault at a step where the instance can end.
func (i *fakeInstance) play(ctx context.Context, fault Fault) error {
	if err := fault.suffer(ctx); err != nil {
		return err
	}
	if fault.Exit != nil {
		i.end(*fault.Exit)
		return fmt.Errorf("instance %q: %s", i.id, fault.Exit)
	}
	return nil
}

// end makes the program end as exit says, unless it has. Its connections
// break and what it holds stays, until undo.
func (i *fakeInstance) end(exit sandbox.Exit) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended {
		return
	}
	i.ended = true
	exit.At = time.Now()
	i.exit = exit
	if i.listener != nil {
		i.listener.breakAll()
	}
	if i.output != nil {
		_ = i.output.Close()
	}
	close(i.done)
}

// undo gives everything back, once.
func (i *fakeInstance) undo() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for len(i.held) > 0 {
		last := len(i.held) - 1
		i.world.release(i.id, i.held[last])
		i.held = i.held[:last]
	}
	i.world.drop(i)
}

// A trackedListener knows its connections, to break them all.
type trackedListener struct {
	net.Listener
	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	broken bool
}

func (l *trackedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	if l.conns == nil {
		l.conns = map[net.Conn]struct{}{}
	}
	tracked := &trackedConn{Conn: conn, listener: l}
	l.conns[tracked] = struct{}{}
	return tracked, nil
}

func (l *trackedListener) breakAll() {
	_ = l.Listener.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = true
	for conn := range l.conns {
		_ = conn.(*trackedConn).Conn.Close()
	}
	l.conns = nil
}

type trackedConn struct {
	net.Conn
	listener *trackedListener
}

func (c *trackedConn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.conns, c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite passes the half-close on, which net/http would miss otherwise.
func (c *trackedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}
