package gateway

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// wantFault reads the answer to a request that a fault of ours struck before
// any byte of an answer, and the end of its connection.
func wantFault(t *testing.T, c *client) {
	t.Helper()
	resp, body := c.response("GET")
	if resp.StatusCode != 500 || resp.Header.Get("Content-Type") != "application/problem+json" ||
		!strings.Contains(body, "urn:unifaas:problem:internal") || !strings.Contains(body, resp.Header.Get("X-Request-Id")) {
		t.Errorf("got %d %v %s", resp.StatusCode, resp.Header, body)
	}
	c.ended()
}

// TestFaultOfOurOwn has a part behind the gateway panic under one request.
func TestFaultOfOurOwn(t *testing.T) {
	r := newRig(t, []*testInstance{handlerInstance(t, echo)})
	other := r.dial() // opened before, used after
	r.pool.set(func() error { panic("a fault") })
	c := r.dial()
	c.send(get("/"))
	wantFault(t, c)
	r.pool.set(nil)
	other.send(get("/"))
	if resp, body := other.response("GET"); resp.StatusCode != 200 || body != "GET / " {
		t.Errorf("another client got %d %q", resp.StatusCode, body)
	}
	metrics := scrape(t, r)
	for _, want := range []string{"unifaas_gateway_faults_total 1", `unifaas_gateway_in_flight_requests{function="f"} 0`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %q in the metrics:\n%s", want, metrics)
		}
	}
}

// A faultyListener's connections panic, once it is told to, in the next read
// that has got something; itself in the next Accept, when it is told that.
type faultyListener struct {
	net.Listener
	reads, accepts atomic.Bool
}

func (l *faultyListener) Accept() (net.Conn, error) {
	if l.accepts.Swap(false) {
		panic("a fault of Accept")
	}
	c, err := l.Listener.Accept()
	return faultyConn{c, l}, err
}

type faultyConn struct {
	net.Conn
	l *faultyListener
}

func (c faultyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.l.reads.Swap(false) {
		panic("a fault of Read")
	}
	return n, err
}

func newFaultyRig(t *testing.T, h http.HandlerFunc) (*rig, *faultyListener) {
	t.Helper()
	l := &faultyListener{Listener: listen(t)}
	r := newRig(t, []*testInstance{handlerInstance(t, h)}, func(o *Options, _ *faas.Function) { o.Listener = l })
	return r, l
}

// goesOn checks that the gateway serves others after one fault.
func goesOn(t *testing.T, r *rig) {
	t.Helper()
	c := r.dial()
	c.send(get("/after"))
	if resp, body := c.response("GET"); resp.StatusCode != 200 || body != "GET /after " {
		t.Errorf("another client got %d %q", resp.StatusCode, body)
	}
	if metrics := scrape(t, r); !strings.Contains(metrics, "unifaas_gateway_faults_total 1") {
		t.Errorf("the fault is not counted:\n%s", metrics)
	}
}

func TestFaultInTheReadingOfABody(t *testing.T) {
	began := make(chan struct{}, 1)
	r, l := newFaultyRig(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Method == "POST" {
			_, _ = req.Body.Read(make([]byte, 3))
			began <- struct{}{}
			_, _ = io.ReadAll(req.Body) // which the gateway cuts
			return
		}
		echo(w, req)
	})
	c := r.dial()
	c.send("POST /invoke/f HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	<-began
	l.reads.Store(true)
	c.send("3\r\ndef\r\n")
	wantFault(t, c)
	goesOn(t, r)
}

func TestFaultInATunnel(t *testing.T) {
	ended := make(chan struct{})
	r, l := newFaultyRig(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Upgrade") == "" {
			echo(w, req)
			return
		}
		defer close(ended)
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	})
	c := r.dial()
	c.send("GET /invoke/f HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	if _, err := readHead(c.r); err != nil {
		t.Fatal(err)
	}
	l.reads.Store(true)
	c.send("x")
	c.ended()
	<-ended
	goesOn(t, r)
}

func TestFaultInAccept(t *testing.T) {
	r, l := newFaultyRig(t, echo)
	l.accepts.Store(true)
	c := r.dial() // taken by the Accept that goes on already
	c.send(get("/"))
	if resp, _ := c.response("GET"); resp.StatusCode != 200 {
		t.Errorf("got %d", resp.StatusCode)
	}
	goesOn(t, r)
}

// faultyClose is a connection whose look at the clock is a fault.
type faultyClose struct{ net.Conn }

func (faultyClose) SetReadDeadline(time.Time) error { panic("a fault of the sweep") }

// TestFaultInASweep has one connection strike a fault in every sweep, before
// others that have to be swept.
func TestFaultInASweep(t *testing.T) {
	r := newRig(t, []*testInstance{handlerInstance(t, echo)}, func(o *Options, _ *faas.Function) { o.HeadTimeout = 200 * time.Millisecond })
	faulty := &conn{g: r.g, fd: -1}
	faulty.watch.client = faultyClose{}
	r.g.mu.Lock()
	r.g.conns = append(r.g.conns, faulty)
	r.g.mu.Unlock()
	r.g.wakeSweeper() // as the first connection does
	c := r.dial()
	faulty.watch.await(phaseIdle, 0, 0)
	if _, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("a connection that sends nothing is not timed out: %v", err)
	}
	r.g.mu.Lock()
	last := len(r.g.conns) - 1
	r.g.conns[faulty.slot] = r.g.conns[last]
	r.g.conns[faulty.slot].slot = faulty.slot
	r.g.conns = r.g.conns[:last]
	r.g.mu.Unlock()
	goesOn(t, r)
}
