package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
)

// parked counts what the loops wait for: requests, answers, and kept
// connections.
func (r *rig) parked() (requests, answers, kept int) {
	for _, l := range r.g.loops {
		l.mu.Lock()
		socks := append([]*sock(nil), l.socks...)
		l.mu.Unlock()
		for _, s := range socks {
			if s == nil {
				continue
			}
			s.mu.Lock()
			switch s.task.(type) {
			case *conn:
				requests++
			case *exchange:
				answers++
			case *upConn:
				kept++
			}
			s.mu.Unlock()
		}
	}
	return requests, answers, kept
}

// await waits until the loops wait for so much.
func (r *rig) await(requests, answers, kept int) {
	r.t.Helper()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		q, a, k := r.parked()
		if q == requests && a == answers && k == kept {
			return
		}
		if time.Since(start) > patience {
			r.t.Fatalf("the loops wait for %d requests, %d answers and have %d kept connections; want %d, %d, %d",
				q, a, k, requests, answers, kept)
		}
	}
}

// A gated function answers "/held" once it is let go, anything else at once.
type gated struct{ gate chan struct{} }

func (g *gated) serve(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/held":
		<-g.gate
	case "/large":
		_, _ = w.Write(make([]byte, 100<<10))
		return
	case "/stream":
		for range 3 {
			_, _ = io.WriteString(w, "part")
			_ = http.NewResponseController(w).Flush()
		}
		return
	case "/interim":
		w.WriteHeader(http.StatusEarlyHints)
	}
	echo(w, r)
}

func newGated(t *testing.T, tunes ...tune) (*rig, *gated) {
	g := &gated{make(chan struct{})}
	return newRig(t, []*testInstance{handlerInstance(t, g.serve)}, tunes...), g
}

// warm has one exchange made, so that a connection to the function is kept.
func (r *rig) warm() *client {
	r.t.Helper()
	c := r.dial()
	c.plain()
	r.await(1, 0, 1)
	return c
}

func (c *client) plain() {
	c.t.Helper()
	c.send(get("/"))
	if resp, body := c.response("GET"); resp.StatusCode != 200 || body != "GET / " {
		c.t.Fatalf("got %d %q", resp.StatusCode, body)
	}
}

// TestLoopAndBack has each kind of exchange leave the loop, in each state, and
// the next one run in the loop again.
func TestLoopAndBack(t *testing.T) {
	r, function := newGated(t)
	c := r.warm()
	for _, tt := range []struct{ name, method, request, rest, body string }{
		{"short", "GET", get("/"), "", "GET / "},
		{"without a body", "HEAD", "HEAD /invoke/f/ HTTP/1.1\r\nHost: h\r\n\r\n", "", ""},
		{"held body", "POST", "POST /invoke/f/ HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", "", "POST / abc"},
		{"half a head", "GET", "GET /invoke/f/ HTTP/1.1\r\nHo", "st: h\r\n\r\n", "GET / "},
		{"empty line before", "GET", "\r\n" + get("/"), "", "GET / "},
		{"half a body", "POST", "POST /invoke/f/ HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na", "bc", "POST / abc"},
		{"chunks", "POST", "POST /invoke/f/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "0\r\n\r\n", "POST / abc"},
		{"nothing there", "GET", "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n", "", "404"},
		{"large answer", "GET", get("/large"), "", string(make([]byte, 100<<10))},
		{"streamed answer", "GET", get("/stream"), "", "partpartpart"},
		{"interim", "GET", "GET /invoke/f/interim HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "", "GET /interim "},
		{"upgrade refused", "GET", "GET /invoke/f/ HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", "", "GET / "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.send(tt.request)
			if tt.rest != "" {
				time.Sleep(20 * time.Millisecond) // apart
				c.send(tt.rest)
			}
			resp, body := c.response(tt.method)
			if tt.body == "404" && resp.StatusCode == 404 {
				body = "404"
			}
			if body != tt.body {
				t.Fatalf("got %d %.40q, want %.40q", resp.StatusCode, body, tt.body)
			}
			r.await(1, 0, 1)
			c.send(get("/held"))
			r.await(0, 1, 0)
			function.gate <- struct{}{}
			if _, body := c.response("GET"); body != "GET /held " {
				t.Fatalf("got %q", body)
			}
			r.await(1, 0, 1)
		})
	}
	if n := r.pool.instances[0].dialled(); n != 1 {
		t.Errorf("%d connections were made to the function, want 1", n)
	}
}

// TestEndWithTheRequest has the client close its sending side right behind a
// request, which then gets an answer all the same if it is there at once.
func TestEndWithTheRequest(t *testing.T) {
	r, _ := newGated(t)
	for range 20 {
		c := r.warm()
		began := time.Now()
		c.send(get("/"))
		_ = c.CloseWrite()
		resp, err := http.ReadResponse(c.r, nil)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
		}
		// An answer that was not there before the next sweep is for nobody.
		if err != nil && time.Since(began) < sweepEvery {
			t.Fatal(err)
		}
		c.ended()
		r.awaitNoClient()
	}
}

func (r *rig) awaitNoClient() {
	r.t.Helper()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		r.g.mu.Lock()
		n := int64(len(r.g.conns))
		r.g.mu.Unlock()
		for _, l := range r.g.loops {
			n += l.clients.Load()
		}
		if n == 0 {
			return
		}
		if time.Since(start) > patience {
			r.t.Fatal("a connection stays")
		}
	}
}

// TestPipelined sends many requests at once and reads the answers late: some
// don't fit their socket.
func TestPipelined(t *testing.T) {
	const n = 2000
	body := strings.Repeat("x", 4000)
	i := rawInstance(t, func(_ int, c net.Conn, r *bufio.Reader) {
		for {
			head, err := readHead(r)
			if err != nil {
				return
			}
			number := strings.Fields(strings.TrimPrefix(head[0], "GET /"))[0]
			number = strings.TrimPrefix(number, "/")
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX-Number: %s\r\nContent-Length: %d\r\n\r\n%s", number, len(body), body)
		}
	})
	r := newRig(t, []*testInstance{i})
	c := r.dial()
	_ = c.SetReadBuffer(128 << 10)
	c.send(get("/first"))
	c.response("GET")
	r.await(1, 0, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for at := range n {
			if _, err := fmt.Fprintf(c, "GET /invoke/f/%d HTTP/1.1\r\nHost: h\r\n\r\n", at); err != nil {
				t.Error(err)
				return
			}
		}
	})
	time.Sleep(50 * time.Millisecond) // until nothing fits any more
	for at := range n {
		resp, got := c.response("GET")
		if number := resp.Header.Get("X-Number"); number != fmt.Sprint(at) || got != body {
			t.Fatalf("answer %d is %s, %d bytes", at, number, len(got))
		}
	}
	r.await(1, 0, 1)
	if dialled := i.dialled(); dialled != 1 {
		t.Errorf("%d connections were made to the function, want 1", dialled)
	}
}

// TestUnaskedOnAKeptConnection: what a function says, or that it closes, while
// its connection is kept has that connection closed.
func TestUnaskedOnAKeptConnection(t *testing.T) {
	for name, unasked := range map[string]func(net.Conn){
		"speaks": func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil") },
		"closes": func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() },
		"resets": func(c net.Conn) {
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := make(chan struct{})
			i := rawInstance(t, func(n int, c net.Conn, r *bufio.Reader) {
				if _, err := readHead(r); err != nil {
					return
				}
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n)
				<-now
				unasked(c)
				_, _ = io.Copy(io.Discard, r)
			})
			r := newRig(t, []*testInstance{i})
			c := r.dial()
			for n := range 5 {
				c.send("POST /invoke/f HTTP/1.1\r\nHost: h\r\n\r\n")
				if resp, body := c.response("POST"); resp.StatusCode != 200 || body != fmt.Sprint(n) {
					t.Fatalf("got %d %q on connection %d", resp.StatusCode, body, n)
				}
				r.await(1, 0, 1)
				now <- struct{}{}
				r.await(1, 0, 0)
			}
		})
	}
}

// TestUnaskedUnseen: what a function says while its connection is kept is no
// answer either when the loop has not seen it yet.
func TestUnaskedUnseen(t *testing.T) {
	now := make(chan struct{})
	i := rawInstance(t, func(n int, c net.Conn, r *bufio.Reader) {
		for {
			if _, err := readHead(r); err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n)
			if n == 0 {
				<-now
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
				now <- struct{}{}
			}
		}
	})
	r := newRig(t, []*testInstance{i})
	first := r.dial()
	r.await(1, 0, 0)
	other := r.dial() // of another loop
	r.await(2, 0, 0)
	first.send(get("/"))
	first.response("GET")
	r.await(2, 0, 1)
	l := r.g.loops[0] // which has the first two connections
	l.mu.Lock()
	now <- struct{}{}
	<-now
	other.send(get("/"))
	time.Sleep(20 * time.Millisecond) // until it has taken the kept connection
	l.mu.Unlock()
	if _, body := other.response("GET"); body != "1" {
		t.Errorf("got %q, want the answer of a new connection", body)
	}
}

// TestSlowReader has a client send requests in turn and read no answer, until
// one does not fit its socket as a whole.
func TestSlowReader(t *testing.T) {
	body := strings.Repeat("x", 3000)
	i := script(t, "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n"+body)
	r := newRig(t, []*testInstance{i})
	c := r.dial()
	_ = c.SetReadBuffer(64 << 10)
	r.await(1, 0, 0)
	r.g.mu.Lock()
	s := r.g.conns[0].sock
	r.g.mu.Unlock()
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<10); err != nil {
		t.Fatal(err)
	}
	sent, full := 0, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.waiting > 0 && s.armed
	}
	for !full() {
		c.send(get("/"))
		sent++
		for start := time.Now(); len(i.health()) < sent && !full(); time.Sleep(time.Millisecond) {
			if time.Since(start) > patience {
				t.Fatalf("%d of %d requests were served", len(i.health()), sent)
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	for range sent {
		if resp, got := c.response("GET"); resp.StatusCode != 200 || got != body {
			t.Fatalf("got %d, %d bytes", resp.StatusCode, len(got))
		}
	}
	r.await(1, 0, 1)
}

// TestDeadlineInTheLoop has timeouts end exchanges that a loop waits for.
func TestDeadlineInTheLoop(t *testing.T) {
	t.Parallel()
	const short = 100 * time.Millisecond
	for name, limits := range map[string]faas.Timeouts{
		"first byte": {FirstByte: short}, "idle": {Idle: short}, "total": {Total: short},
	} {
		t.Run(name, func(t *testing.T) {
			r, function := newGated(t, timeouts(limits))
			defer close(function.gate)
			c := r.warm()
			start := time.Now()
			c.send(get("/held"))
			r.await(0, 1, 0)
			resp, body := c.response("GET")
			if d := problemOf(t, resp, body); d.Status != 504 || time.Since(start) < short {
				t.Errorf("got %+v after %v", d, time.Since(start))
			}
			r.await(1, 0, 0)
			c.plain()
			if h := r.pool.instances[0].awaitRelease(t, 3); !h[0] || h[1] || !h[2] {
				t.Errorf("the instance was released as %v", h)
			}
		})
	}
}

func TestClientGoesInTheLoop(t *testing.T) {
	r, function := newGated(t)
	defer close(function.gate)
	c := r.warm()
	c.send(get("/held"))
	r.await(0, 1, 0)
	_ = c.Close()
	r.await(0, 0, 0)
	if h := r.pool.instances[0].awaitRelease(t, 2); !h[1] {
		t.Error("the instance was released as broken")
	}
	r.awaitNoClient()
}

// TestStopWithTheLoopWaiting stops a gateway whose connections are all with its
// loops.
func TestStopWithTheLoopWaiting(t *testing.T) {
	t.Run("drained", func(t *testing.T) {
		r, function := newGated(t)
		idle, busy := r.dial(), r.dial()
		idle.plain()
		r.await(2, 0, 1)
		busy.send(get("/held"))
		r.await(1, 1, 0)
		stopped := make(chan error, 1)
		go func() { stopped <- r.g.Stop(context.Background()) }()
		idle.ended()
		close(function.gate)
		if resp, body := busy.response("GET"); body != "GET /held " || !resp.Close {
			t.Errorf("got %q, close %v", body, resp.Close)
		}
		busy.ended()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	t.Run("cut", func(t *testing.T) {
		r, function := newGated(t)
		defer close(function.gate)
		c := r.warm()
		c.send(get("/held"))
		r.await(0, 1, 0)
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if err := r.g.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		resp, body := c.response("GET")
		if d := problemOf(t, resp, body); d.Status != 503 || !resp.Close {
			t.Errorf("got %+v", d)
		}
	})
}

// A faultyPool panics when told to: in TryAcquire, or in Release.
type faultyPool struct {
	*testPool
	acquires, releases atomic.Bool
}

func (p *faultyPool) TryAcquire(rev *faas.Revision) (Lease, bool) {
	if p.acquires.Swap(false) {
		panic("a fault of TryAcquire")
	}
	lease, ok := p.testPool.TryAcquire(rev)
	return &faultyLease{lease.(*testLease), p}, ok
}

type faultyLease struct {
	*testLease
	p *faultyPool
}

func (l *faultyLease) Release(healthy bool) {
	if l.p.releases.Swap(false) {
		panic("a fault of Release")
	}
	l.testLease.Release(healthy)
}

// TestFaultInTheLoop: a fault ends the exchange that it struck and no other
// that the same loop looks after.
func TestFaultInTheLoop(t *testing.T) {
	for name, arm := range map[string]func(*faultyPool){
		"before the request": func(p *faultyPool) { p.acquires.Store(true) },
		"after the answer":   func(p *faultyPool) { p.releases.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			p := &faultyPool{}
			r := newRig(t, []*testInstance{handlerInstance(t, echo)}, func(o *Options, _ *faas.Function) {
				p.testPool = o.Pool.(*testPool)
				o.Pool = p
			})
			others := make([]*client, 2*len(r.g.loops)) // of each loop
			for i := range others {
				others[i] = r.dial()
				others[i].plain()
			}
			c := r.dial()
			c.plain()
			r.await(len(others)+1, 0, 1)
			arm(p)
			c.send(get("/"))
			wantFault(t, c)
			for _, other := range others {
				other.send(get("/after"))
				if resp, body := other.response("GET"); resp.StatusCode != 200 || body != "GET /after " {
					t.Errorf("another client got %d %q", resp.StatusCode, body)
				}
			}
			goesOn(t, r)
		})
	}
}

// TestInstanceThatIsGone has requests wait for a function whose kernel goes
// without a word, as a virtual machine's does: in a loop, and in a goroutine.
func TestInstanceThatIsGone(t *testing.T) {
	r, function := newGated(t)
	t.Cleanup(func() { close(function.gate) })
	const head = "POST /invoke/f/held HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n"
	inLoop := r.warm()
	inLoop.send(head + "abc")
	r.await(0, 1, 0)
	outside := r.dial()
	outside.send(head + "a")
	instance := r.pool.instances[0]
	for start := time.Now(); instance.dialled() < 2; time.Sleep(time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatal("the second request does not reach the function")
		}
	}
	time.Sleep(20 * time.Millisecond) // most of the time it waits by then; it has to end in any case
	instance.close()
	for name, c := range map[string]*client{"in a loop": inLoop, "in a goroutine": outside} {
		if resp, body := c.response("POST"); resp.StatusCode != 502 {
			t.Errorf("%s: got %d %q", name, resp.StatusCode, body)
		}
	}
}
