package callback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

const (
	maxHead     = 4 << 10         // bytes; net/http allows 4 KiB more
	maxTime     = 5 * time.Second // for one exchange, from its connection on
	maxConns    = 512             // at once
	maxFromOne  = 8               // at once from one address
	readyPath   = "/ready/"
	stopTimeout = 2 * time.Second
)

// Options configure a [Server]. The zero value is usable.
type Options struct {
	Logger *slog.Logger // default: discard
}

// A Server receives calls on one address. Its methods may be called
// concurrently.
type Server struct {
	listener net.Listener
	address  netip.AddrPort
	http     http.Server
	logger   *slog.Logger
	served   chan struct{}

	mu    sync.Mutex
	calls map[string]*Call
}

// Listen returns a server that receives calls on addr; port 0 is any free one.
func Listen(addr netip.AddrPort, o Options) (*Server, error) {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		return nil, fmt.Errorf("listen for ready callbacks: %w", err)
	}
	return Serve(l, o), nil
}

// Serve returns a server that receives calls on l, a TCP listener of any
// network namespace, which it closes.
func Serve(l net.Listener, o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		listener: newLimited(l), logger: o.Logger,
		address: l.Addr().(*net.TCPAddr).AddrPort(),
		served:  make(chan struct{}),
		calls:   map[string]*Call{},
	}
	s.http = http.Server{
		Handler:           s,
		MaxHeaderBytes:    maxHead,
		ReadHeaderTimeout: maxTime,
		ReadTimeout:       maxTime,
		WriteTimeout:      2 * maxTime, // an answer may have to wait for the address
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	s.http.SetKeepAlivesEnabled(false)
	go func() {
		defer close(s.served)
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			s.logger.Error("ready callbacks are not received any more", "address", s.address.String(), "err", err)
		}
	}()
	return s
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() netip.AddrPort { return s.address }

// URL returns what the instance id has to call.
func (s *Server) URL(id string) string { return "http://" + s.address.String() + readyPath + id }

// Close stops receiving. Calls that are waited for never come.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	<-s.served
	return err
}

// A Call is one that is expected. Its methods may be called concurrently, and
// on a nil Call, which never comes.
type Call struct {
	server *Server
	id     string
	done   chan struct{}
	came   sync.Once

	bound chan struct{} // closed when from is known
	bind  sync.Once
	from  netip.Addr
}

// Expect begins to expect the call of instance id, from its address. An
// invalid address is one that is not known yet: a call that comes meanwhile
// is kept waiting for [Call.Bind]. Expecting the same id again ends what was
// expected before. The caller ends it with [Call.Cancel].
func (s *Server) Expect(id string, from netip.Addr) *Call {
	c := &Call{server: s, id: id, done: make(chan struct{}), bound: make(chan struct{})}
	if from.IsValid() {
		c.Bind(from)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[id] = c
	return c
}

// Bind says where the call must come from. Only the first counts.
func (c *Call) Bind(from netip.Addr) {
	if c == nil {
		return
	}
	c.bind.Do(func() {
		c.from = from.Unmap()
		close(c.bound)
	})
}

// Done is closed when the call has come.
func (c *Call) Done() <-chan struct{} {
	if c == nil {
		return nil
	}
	return c.done
}

// Cancel ends the expectation. It may be called more than once.
func (c *Call) Cancel() {
	if c == nil {
		return
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if c.server.calls[c.id] == c {
		delete(c.server.calls, c.id)
	}
}
