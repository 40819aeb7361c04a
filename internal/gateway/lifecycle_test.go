package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// upgradeInstance answers a WebSocket handshake (RFC 6455 section 4.2.2) and
// echoes what follows, without looking at frames.
func upgradeInstance(t *testing.T) *testInstance {
	return rawInstance(t, func(_ int, c net.Conn, r *bufio.Reader) {
		head, err := readHead(r)
		if err != nil {
			return
		}
		joined := strings.Join(head, "\n")
		if !strings.Contains(joined, "Connection: Upgrade") || !strings.Contains(joined, "Upgrade: websocket") {
			_, _ = io.WriteString(c, "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
			return
		}
		_, after, _ := strings.Cut(joined, "Sec-WebSocket-Key: ")
		key, _, _ := strings.Cut(after, "\n")
		sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\nhello",
			base64.StdEncoding.EncodeToString(sum[:]))
		_, _ = io.Copy(c, r)
	})
}

const handshake = "GET /invoke/f HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

func TestWebSocket(t *testing.T) {
	i := upgradeInstance(t)
	c := newRig(t, []*testInstance{i}).dial()
	early := strings.Repeat("early", 4000) // data right behind the handshake
	c.send(handshake + early)
	head, err := readHead(c.r)
	if joined := strings.Join(head, "\n"); err != nil || !strings.HasPrefix(joined, "HTTP/1.1 101 ") ||
		!strings.Contains(joined, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") ||
		!strings.Contains(joined, "Connection: Upgrade") || !strings.Contains(joined, "Upgrade: websocket") {
		t.Fatalf("got %q, %v", head, err)
	}
	expect := func(want []byte) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c.r, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %.40q, %v, want %.40q", got, err, want)
		}
	}
	expect([]byte("hello" + early))
	frame := append([]byte{0x82, 0xfe, 0xff, 0xff, 0, '\r', '\n', '\r', '\n'}, patternBlock[:60000]...)
	for range 20 {
		go func() { _, _ = c.Write(frame) }()
		expect(frame)
	}
	_ = c.CloseWrite()
	c.ended()
	if h := i.awaitRelease(t, 1); !h[0] {
		t.Error("the instance was released as broken")
	}
}

func TestTunnelEndsWhenIdle(t *testing.T) {
	t.Parallel()
	i := upgradeInstance(t)
	c := newRig(t, []*testInstance{i}, timeouts(faas.Timeouts{FirstByte: 50 * time.Millisecond, Idle: 300 * time.Millisecond})).dial()
	c.send(handshake)
	if _, err := readHead(c.r); err != nil {
		t.Fatal(err)
	}
	_, _ = c.r.Discard(len("hello"))
	start := time.Now()
	for range 8 { // each keeps it alive
		time.Sleep(50 * time.Millisecond)
		c.send("x")
		if b, err := c.r.ReadByte(); err != nil || b != 'x' {
			t.Fatalf("after %v: got %q, %v", time.Since(start), b, err)
		}
	}
	c.ended()
	if h := i.awaitRelease(t, 1); !h[0] {
		t.Error("the instance was released as broken")
	}
}

func TestUpgradeRefused(t *testing.T) {
	i := script(t, "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno")
	c := newRig(t, []*testInstance{i}).dial()
	c.send(handshake)
	if resp, body := c.response("GET"); resp.StatusCode != 426 || body != "no" {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
	c.send(get("/"))
	if resp, _ := c.response("GET"); resp.StatusCode != 426 {
		t.Errorf("got %d on the same connection", resp.StatusCode)
	}
}

func TestDrain(t *testing.T) {
	arrived, proceed := make(chan struct{}), make(chan struct{})
	r := newRig(t, []*testInstance{handlerInstance(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/slow" {
			close(arrived)
			<-proceed
		}
		echo(w, req)
	})})
	idle, busy := r.dial(), r.dial()
	idle.send(get("/"))
	idle.response("GET")
	busy.send(get("/slow"))
	<-arrived
	stopped := make(chan error, 1)
	go func() { stopped <- r.g.Stop(context.Background()) }()
	idle.ended()
	if c, err := net.Dial("tcp", r.addr); err == nil {
		_ = c.Close()
		t.Error("the listener still accepts")
	}
	select {
	case err := <-stopped:
		t.Fatalf("stopped with a request in flight: %v", err)
	default:
	}
	close(proceed)
	if resp, body := busy.response("GET"); body != "GET /slow " || !resp.Close {
		t.Errorf("got %q, close %v", body, resp.Close)
	}
	busy.ended()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := r.g.Stop(context.Background()); err != nil {
		t.Errorf("stopping again: %v", err)
	}
}

func TestDrainDeadline(t *testing.T) {
	t.Parallel()
	waiting, got, _ := silent(t, "")
	r := newRig(t, []*testInstance{waiting})
	c := r.dial()
	c.send(get("/"))
	<-got
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := r.g.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	resp, body := c.response("GET")
	if d := problemOf(t, resp, body); d.Status != 503 || !resp.Close {
		t.Errorf("got %+v", d)
	}
	if h := waiting.awaitRelease(t, 1); !h[0] {
		t.Error("the instance was released as broken")
	}
}

func TestStopWithoutStart(t *testing.T) {
	g, err := New(Options{Catalog: testCatalog{}, Pool: &testPool{}, Registerer: newRegistry(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t, []*testInstance{handlerInstance(t, echo)}, func(o *Options, _ *faas.Function) { o.MaxConns = 4 })
	for range 4 { // idle ones, which have to make room
		c := r.dial()
		c.send(get("/"))
		c.response("GET")
	}
	for range 8 {
		c := r.dial()
		c.send(get("/"))
		if resp, _ := c.response("GET"); resp.StatusCode != 200 {
			t.Fatalf("got %d", resp.StatusCode)
		}
	}
}

// TestOutOfDescriptors runs in processes of its own, with few descriptors.
func TestOutOfDescriptors(t *testing.T) {
	for _, what := range []string{"descriptors", "duplicates"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, exe)
			cmd.Env = append(os.Environ(), helperEnv+"="+what)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if !strings.Contains(string(out), "recovered") {
				t.Errorf("got %s", out)
			}
		})
	}
}

// TestHotPathAllocations bounds what one request costs the collector: what
// the test's own pool and function allocate is in it too.
func TestHotPathAllocations(t *testing.T) {
	var served atomic.Int64
	i := rawInstance(t, func(_ int, c net.Conn, r *bufio.Reader) {
		response := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) == 2 {
				served.Add(1)
				if _, err := c.Write(response); err != nil {
					return
				}
			}
		}
	})
	c := newRig(t, []*testInstance{i}).dial()
	request, answer := []byte(get("/x?y=z")), make([]byte, 4096)
	perRequest := testing.AllocsPerRun(500, func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(answer); err != nil {
			t.Fatal(err)
		}
	})
	if served.Load() < 500 {
		t.Fatalf("only %d requests were served", served.Load())
	}
	if perRequest > 3 {
		t.Errorf("a request allocates %v times", perRequest)
	}
}
