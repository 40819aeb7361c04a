// Package control is the host's side of what the first process of a Linux guest
// says (package wire): it takes a guest's connections, one after the other, and
// turns them into output and events. It knows neither machines nor monitors.
package control

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/unifaas/unifaas/internal/guest/linux/wire"
)

// Options are what a Guest is made with.
type Options struct {
	// ID is the instance's: a guest that says another is not heard.
	ID string
	// Address is the guest's, from which alone connections are taken; nil is
	// any.
	Address net.IP
	// BelowPort is what the port of the guest's end must be below: only its
	// first process may use such. 0 is any.
	BelowPort int
	// Output takes what the function writes. It is not closed.
	Output *os.File
	// Set returns what the guest is told whenever it has dialled; nil is
	// nothing.
	Set func() wire.Set
	// Phase is told the phases of the start, each once; nil is allowed. It is
	// called by one goroutine at a time.
	Phase func(wire.Phase)
}

// A Guest hears one guest. Its methods may be called concurrently.
type Guest struct {
	options Options
	ln      net.Listener
	served  sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]bool
	conn    net.Conn // the one that counts: the last that said Hello
	phases  map[string]bool
	exit    wire.Exit
	failure error
	closed  bool

	up, ready, exited chan struct{}
}

// Listen begins to hear a guest at ln, which the Guest closes.
func Listen(ln net.Listener, options Options) *Guest {
	g := &Guest{
		options: options, ln: ln, phases: map[string]bool{}, conns: map[net.Conn]bool{},
		up: make(chan struct{}), ready: make(chan struct{}), exited: make(chan struct{}),
	}
	g.served.Go(g.accept)
	return g
}

// Up is closed when the guest has been heard for the first time.
func (g *Guest) Up() <-chan struct{} { return g.up }

// Ready is closed when the function listens on its port.
func (g *Guest) Ready() <-chan struct{} { return g.ready }

// Exited is closed when the guest has told how the function ended, after all
// of its output.
func (g *Guest) Exited() <-chan struct{} { return g.exited }

// Exit tells how the function ended, once Exited is closed.
func (g *Guest) Exit() wire.Exit {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.exit
}

// Failure returns why the last connection was refused or has ended, nil when
// none was or there is nothing to say.
func (g *Guest) Failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failure
}

// errNotConnected is returned for what can't be told now.
var errNotConnected = errors.New("the guest is not connected")

// Stop asks the function to end, by a signal.
func (g *Guest) Stop(signal int) error {
	return g.send(wire.AppendJSON(nil, wire.KindStop, wire.Stop{Signal: signal}))
}

// Set gives the guest the time and entropy, as after it was restored from a
// snapshot.
func (g *Guest) Set(set wire.Set) error {
	return g.send(wire.AppendJSON(nil, wire.KindSet, set))
}

func (g *Guest) send(frame []byte) error {
	g.mu.Lock()
	conn := g.conn
	g.mu.Unlock()
	if conn == nil {
		return errNotConnected
	}
	return write(conn, frame)
}

// sendTimeout bounds a write of a few bytes to a guest that does not read.
const sendTimeout = 5 * time.Second

func write(conn net.Conn, frame []byte) error {
	if err := conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	_, err := conn.Write(frame)
	return err
}

// Close stops hearing the guest, which goes on and dials until it is heard
// again. It returns when all that was said until then is dealt with. It is
// idempotent.
func (g *Guest) Close() error {
	err := g.ln.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	g.mu.Lock()
	g.closed = true
	for conn := range g.conns {
		_ = conn.Close()
	}
	g.mu.Unlock()
	g.served.Wait()
	return err
}

// maxConns is how many connections a guest may have: one that counts, and what is
// left of those before. A function that can't be told from its first process
// could have as many as there are descriptors.
const maxConns = 4

// acceptPause is how long it is waited for a shortage to pass, of descriptors for
// instance.
const acceptPause = 100 * time.Millisecond

// accept takes one connection after the other. Who is connected and says
// nothing is in nobody's way: each has a goroutine of its own, and a new Hello
// ends the connection before it.
func (g *Guest) accept() {
	for {
		conn, err := g.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			g.note(err)
			time.Sleep(acceptPause)
			continue
		}
		if err := errors.Join(g.check(conn.RemoteAddr()), g.enter(conn)); err != nil {
			g.note(err)
			_ = conn.Close()
			continue
		}
		g.served.Go(func() {
			g.note(g.hear(conn))
			g.leave(conn)
			_ = conn.Close()
		})
	}
}

func (g *Guest) note(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil && !g.closed {
		g.failure = err
	}
}

func (g *Guest) check(from net.Addr) error {
	address, ok := from.(*net.TCPAddr)
	if !ok {
		return nil // of a kind that only the guest itself can have
	}
	if g.options.Address != nil && !g.options.Address.Equal(address.IP) {
		return fmt.Errorf("a connection from %v, which is not the guest %v", address, g.options.Address)
	}
	if g.options.BelowPort > 0 && address.Port >= g.options.BelowPort {
		return fmt.Errorf("a connection from %v: the guest's first process has a port below %d", address, g.options.BelowPort)
	}
	return nil
}

// helloTimeout bounds the wait for a connection's first frame.
const helloTimeout = 10 * time.Second

// hear reads a connection until its end.
func (g *Guest) hear(conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	r := wire.NewReader(bufio.NewReaderSize(conn, wire.MaxPayload))
	kind, payload, err := r.Next()
	if err != nil {
		return fmt.Errorf("wait for the guest's first word: %w", err)
	}
	var hello wire.Hello
	if err := decode(kind, wire.KindHello, payload, &hello); err != nil {
		return err
	}
	if hello.Version != wire.Version || hello.ID != g.options.ID {
		return fmt.Errorf("a guest says it is %q and speaks version %d, want %q and %d", hello.ID, hello.Version, g.options.ID, wire.Version)
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if !g.adopt(conn) {
		return nil
	}
	if err := g.greet(conn, hello); err != nil {
		return err
	}
	for {
		kind, payload, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("hear the guest: %w", err)
		}
		last, err := g.take(kind, payload)
		if last || err != nil {
			return err
		}
	}
}

// adopt makes conn the connection that counts.
func (g *Guest) adopt(conn net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	if g.conn != nil {
		_ = g.conn.Close()
	}
	g.conn = conn
	shut(g.up)
	return true
}

// enter notes a connection, so that Close ends it.
func (g *Guest) enter(conn net.Conn) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return net.ErrClosed
	}
	if len(g.conns) >= maxConns {
		return fmt.Errorf("the guest has %d connections already", maxConns)
	}
	g.conns[conn] = true
	return nil
}

func (g *Guest) leave(conn net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, conn)
	if g.conn == conn {
		g.conn = nil
	}
}

// greet takes what a Hello says and answers it.
func (g *Guest) greet(conn net.Conn, hello wire.Hello) error {
	for _, p := range hello.Phases {
		g.phase(p)
	}
	if hello.Ready {
		g.mu.Lock()
		shut(g.ready)
		g.mu.Unlock()
	}
	if g.options.Set == nil {
		return nil
	}
	return write(conn, wire.AppendJSON(nil, wire.KindSet, g.options.Set()))
}

// take deals with a frame. It is the last one when the function has ended: to
// end the connection is to confirm that.
func (g *Guest) take(kind wire.Kind, payload []byte) (last bool, err error) {
	switch kind {
	case wire.KindOutput:
		_, err := g.options.Output.Write(payload)
		return false, err
	case wire.KindPhase, wire.KindReady:
		var p wire.Phase
		if err := decode(kind, kind, payload, &p); err != nil {
			return false, err
		}
		g.phase(p)
		if kind == wire.KindReady {
			g.mu.Lock()
			shut(g.ready)
			g.mu.Unlock()
		}
		return false, nil
	case wire.KindExit:
		var exit wire.Exit
		if err := decode(kind, kind, payload, &exit); err != nil {
			return false, err
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.exit = exit
		shut(g.exited)
		return true, nil
	default:
		return false, nil // of a newer guest
	}
}

func (g *Guest) phase(p wire.Phase) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.phases[p.Name] {
		return
	}
	g.phases[p.Name] = true
	if g.options.Phase != nil {
		g.options.Phase(p)
	}
}

// shut closes a channel unless it is closed. The caller holds the lock.
func shut(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

func decode(kind, want wire.Kind, payload []byte, v any) error {
	if kind != want {
		return fmt.Errorf("the guest says %q, want %q", kind, want)
	}
	if err := json.Unmarshal(payload, v); err != nil {
		return fmt.Errorf("the guest's %q: %w", kind, err)
	}
	return nil
}
