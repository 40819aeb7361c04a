package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/goleak"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

func TestMain(m *testing.M) {
	if runHelper() {
		return
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must happen; only a failing test
// waits that long.
const patience = 20 * time.Second

// A testInstance is an address at which a function listens.
type testInstance struct {
	network, addr string
	mu            sync.Mutex
	attachment    io.Closer
	dials         int
	released      []bool
	changed       chan struct{} // signalled at each release
}

func newInstance(addr net.Addr) *testInstance {
	return &testInstance{network: addr.Network(), addr: addr.String(), changed: make(chan struct{}, 1024)}
}

func (i *testInstance) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.attachment != nil {
		_ = i.attachment.Close()
		i.attachment = nil
	}
}

func (i *testInstance) health() []bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]bool(nil), i.released...)
}

func (i *testInstance) dialled() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.dials
}

type testLease struct {
	i    *testInstance
	once sync.Once
}

func (l *testLease) Instance() sandbox.Instance { return nil }

func (l *testLease) Dial(ctx context.Context) (net.Conn, error) {
	l.i.mu.Lock()
	l.i.dials++
	l.i.mu.Unlock()
	var d net.Dialer
	return d.DialContext(ctx, l.i.network, l.i.addr)
}

func (l *testLease) Attachment() io.Closer {
	l.i.mu.Lock()
	defer l.i.mu.Unlock()
	return l.i.attachment
}

func (l *testLease) SetAttachment(c io.Closer) io.Closer {
	l.i.mu.Lock()
	defer l.i.mu.Unlock()
	if l.i.attachment == nil {
		l.i.attachment = c
	}
	return l.i.attachment
}

func (l *testLease) Release(healthy bool) {
	again := true
	l.once.Do(func() {
		again = false
		l.i.mu.Lock()
		l.i.released = append(l.i.released, healthy)
		l.i.mu.Unlock()
		select {
		case l.i.changed <- struct{}{}:
		default:
		}
	})
	if again {
		panic("a lease was released twice")
	}
}

// A testPool hands out its instances in turn. With cold set, TryAcquire finds
// none and Acquire asks cold.
type testPool struct {
	mu        sync.Mutex
	instances []*testInstance
	next      int
	cold      func(ctx context.Context) error
}

func (p *testPool) TryAcquire(*faas.Revision) (Lease, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cold != nil {
		return nil, false
	}
	return p.pick(), true
}

// set has every Acquire ask cold; nil makes all instances warm again.
func (p *testPool) set(cold func() error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cold = nil
	if cold != nil {
		p.cold = func(context.Context) error { return cold() }
	}
}

func metricsHandler(reg *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
}

func (p *testPool) pick() Lease {
	i := p.instances[p.next%len(p.instances)]
	p.next++
	return &testLease{i: i}
}

func (p *testPool) Acquire(ctx context.Context, _ *faas.Revision) (Lease, error) {
	p.mu.Lock()
	cold := p.cold
	p.mu.Unlock()
	if cold != nil {
		if err := cold(ctx); err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pick(), nil
}

type testCatalog map[string]*faas.Revision

func (c testCatalog) Lookup(name string) (*faas.Revision, error) {
	if rev := c[name]; rev != nil {
		return rev, nil
	}
	return nil, faas.Errorf(faas.KindNotFound, "there is no function %q", name)
}

// A rig is a gateway with one function "f".
type rig struct {
	t    testing.TB
	g    *Gateway
	reg  *prometheus.Registry
	pool *testPool
	addr string
}

type tune func(*Options, *faas.Function)

func newRig(t testing.TB, instances []*testInstance, tunes ...tune) *rig {
	t.Helper()
	rev := &faas.Revision{Function: faas.Function{
		Ref: faas.NewRef("f"), Concurrency: 64,
		Timeout: faas.Timeouts{FirstByte: patience, Idle: patience},
	}}
	r := &rig{t: t, reg: prometheus.NewRegistry(), pool: &testPool{instances: instances}}
	opts := Options{
		Catalog: testCatalog{"f": rev}, Pool: r.pool, Registerer: r.reg, Listen: "127.0.0.1:0",
		loops: 2, // so that they meet
	}
	for _, tune := range tunes {
		tune(&opts, &rev.Function)
	}
	g, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	g.Start()
	r.g, r.addr = g, g.Addr().String()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = g.Stop(ctx) // what is cut here, the test has left behind
		for _, i := range instances {
			i.close()
		}
	})
	return r
}

// handlerInstance serves h with net/http.
func handlerInstance(t testing.TB, h http.HandlerFunc) *testInstance {
	t.Helper()
	ln := listen(t)
	s := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ln)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return newInstance(ln.Addr())
}

// rawInstance gives every connection, counted from 0, to serve.
func rawInstance(t testing.TB, serve func(n int, c net.Conn, r *bufio.Reader)) *testInstance {
	t.Helper()
	ln := listen(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]struct{}{}
	wg.Go(func() {
		for n := 0; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = struct{}{}
			mu.Unlock()
			wg.Go(func() {
				defer func() {
					mu.Lock()
					delete(open, c)
					mu.Unlock()
					_ = c.Close()
				}()
				serve(n, c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return newInstance(ln.Addr())
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// readHead returns a head's lines without the empty one.
func readHead(r *bufio.Reader) ([]string, error) {
	var lines []string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return lines, err
		}
		if line == "\r\n" {
			return lines, nil
		}
		lines = append(lines, strings.TrimSuffix(line, "\r\n"))
	}
}

// script answers every request on every connection with the same bytes.
func script(t testing.TB, response string) *testInstance {
	return rawInstance(t, func(_ int, c net.Conn, r *bufio.Reader) {
		for {
			if _, err := readHead(r); err != nil {
				return
			}
			if _, err := io.WriteString(c, response); err != nil {
				return
			}
		}
	})
}

// A client is a raw connection to the gateway.
type client struct {
	t testing.TB
	*net.TCPConn
	r *bufio.Reader
}

func (r *rig) dial() *client {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &client{r.t, c.(*net.TCPConn), bufio.NewReader(c)}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatal(err)
	}
}

// response reads one response and its whole body.
func (c *client) response(method string) (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("read response: %v", err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("read response's body: %v", err)
	}
	_ = resp.Body.Close()
	return resp, string(b)
}

// ended checks that the gateway closes the connection without another byte.
func (c *client) ended() {
	c.t.Helper()
	b, err := c.r.ReadByte()
	if err == nil {
		c.t.Fatalf("got byte %q, want the connection's end", b)
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		c.t.Fatal("the connection stays open")
	}
}

// exchange sends raw on a new connection and returns the response.
func (r *rig) exchange(raw string) (*http.Response, string) {
	r.t.Helper()
	c := r.dial()
	c.send(raw)
	method, _, _ := strings.Cut(raw, " ")
	return c.response(method)
}

func get(path string) string { return "GET /invoke/f" + path + " HTTP/1.1\r\nHost: h\r\n\r\n" }

// awaitRelease waits until n leases of i were released and returns how.
func (i *testInstance) awaitRelease(t testing.TB, n int) []bool {
	t.Helper()
	timeout := time.After(patience)
	for {
		if h := i.health(); len(h) >= n {
			return h
		}
		select {
		case <-i.changed:
		case <-timeout:
			t.Fatalf("%d leases released, want %d", len(i.health()), n)
		}
	}
}
