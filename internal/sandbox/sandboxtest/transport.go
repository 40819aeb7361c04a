package sandboxtest

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// A Transport is how a fake's instances are reached.
type Transport string

const (
	// Unix is an abstract unix socket named after the instance: the default.
	Unix Transport = "unix"
	// TCP is a free port on the loopback interface.
	TCP Transport = "tcp"
	// Pipe stays in memory, without CloseWrite: for testing/synctest, where a
	// real socket would keep the time from advancing.
	Pipe Transport = "pipe"
)

type dialFunc func(ctx context.Context) (net.Conn, error)

// listen opens an instance's port and returns the way to it.
func (tr Transport) listen(id string) (net.Listener, dialFunc, error) {
	network, address := "unix", "@unifaas-fake-"+id
	switch tr {
	case Pipe:
		l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		return l, l.dial, nil
	case TCP:
		network, address = "tcp", "127.0.0.1:0"
	case Unix, "":
	default:
		return nil, nil, fmt.Errorf("fake: unknown transport %q", tr)
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, nil, err
	}
	return l, func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, l.Addr().String())
	}, nil
}

// A pipeListener accepts the other ends of the pipes that are dialled.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.done:
		return nil, fmt.Errorf("dial pipe: %w", net.ErrClosed)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }
