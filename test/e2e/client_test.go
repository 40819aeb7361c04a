package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/guest"
)

func TestRequestArrivesAsItWasSent(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "verbatim", "")
	req, err := http.NewRequestWithContext(t.Context(), "DELETE", p.at(name, "/request"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.URL.Opaque, req.URL.RawQuery = "/invoke/"+name+"/request", "q=%20;x&&y&z=" // neither is touched on its way
	req.Header.Set("X-Custom", "kept")
	req.Header.Set("Connection", "X-Hop")
	req.Header.Set("X-Hop", "not kept")
	req.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	resp, err := httpClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct {
		Method, URI string
		Header      http.Header
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Method != "DELETE" || got.URI != "/request?q=%20;x&&y&z=" {
		t.Errorf("the function saw %s %s", got.Method, got.URI)
	}
	if got.Header.Get("X-Custom") != "kept" || got.Header.Get("X-Hop") != "" {
		t.Errorf("the function saw the headers %v", got.Header)
	}
	if got.Header.Get("X-Forwarded-For") != "127.0.0.1" || got.Header.Get("X-Request-Id") == "" ||
		!strings.HasPrefix(got.Header.Get("Traceparent"), "00-0af7651916cd43dd8448eb211c80319c-") {
		t.Errorf("the platform's own headers: %v", got.Header)
	}
	if resp.Header.Get("X-Request-Id") != got.Header.Get("X-Request-Id") {
		t.Errorf("request id %q for the client, %q for the function", resp.Header.Get("X-Request-Id"), got.Header.Get("X-Request-Id"))
	}
}

func TestBigBodiesBothWays(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "big", "memory = 64\ntimeout = { first-byte = \"55s\" }")
	const size = 64 << 20
	for _, c := range []struct {
		name string
		body io.Reader
	}{
		{"with a length", sized{guest.Pattern(7, size), size}},
		{"chunked", guest.Pattern(7, size)},
	} {
		t.Run("up "+c.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), "POST", p.at(name, "/digest"), c.body)
			if err != nil {
				t.Fatal(err)
			}
			if s, ok := c.body.(sized); ok {
				req.ContentLength = s.n
			}
			resp, err := httpClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var got guest.Digest
			if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
				t.Fatal(err)
			}
			wantDigest(t, got, 7, size)
		})
	}
	t.Run("down", func(t *testing.T) {
		resp, err := httpClient.Get(p.at(name, fmt.Sprintf("/bytes?n=%d&seed=8", size)))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		got, err := guest.DigestOf(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		wantDigest(t, got, 8, size)
	})
}

type sized struct {
	io.Reader
	n int64
}

func wantDigest(t *testing.T, got guest.Digest, seed, n int64) {
	t.Helper()
	want, err := guest.DigestOf(guest.Pattern(seed, n))
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("arrived as %+v, sent as %+v", got, want)
	}
}

func TestEventsArriveWhenTheyAreSent(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "events", "concurrency = 2\nmax-instances = 1")
	resp, err := httpClient.Get(p.at(name, "/events"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for n := range 3 {
		// The function sends the next one only after it was asked to, so
		// whatever held one back would hold this test.
		if want := fmt.Sprint("data: ", n); !lines.Scan() || lines.Text() != want {
			t.Fatalf("got %q, %v; want %q", lines.Text(), lines.Err(), want)
		}
		lines.Scan() // the empty line
		p.want(t, name, "/tick")
	}
}

func TestWebSocket(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "socket", "")
	conn, err := net.Dial("tcp", p.status.Gateway)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET /invoke/%s/websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", name)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The key and its answer are the example of RFC 6455, section 1.3.
	if resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("the handshake was answered with %s %v", resp.Status, resp.Header)
	}
	for _, text := range []string{"hello", "", strings.Repeat("x", 125)} {
		if _, err := conn.Write(frame(1, text)); err != nil {
			t.Fatal(err)
		}
		if opcode, got := readFrame(t, r); opcode != 1 || got != text {
			t.Errorf("echoed %d %q, want %q", opcode, got, text)
		}
	}
	if _, err := conn.Write(frame(8, "")); err != nil {
		t.Fatal(err)
	}
	if opcode, _ := readFrame(t, r); opcode != 8 {
		t.Errorf("the close was answered with opcode %d", opcode)
	}
	if rest, err := io.ReadAll(r); err != nil || len(rest) != 0 {
		t.Errorf("after the close: %q, %v; want the end", rest, err)
	}
}

// frame masks a short message as a client must.
func frame(opcode byte, text string) []byte {
	f := []byte{0x80 | opcode, 0x80 | byte(len(text))}
	f = binary.BigEndian.AppendUint32(f, 0x12345678)
	for i := range len(text) {
		f = append(f, text[i]^f[2+i%4])
	}
	return f
}

func readFrame(t *testing.T, r *bufio.Reader) (byte, string) {
	t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, head[1]&0x7f)
	if _, err := io.ReadFull(r, text); err != nil {
		t.Fatal(err)
	}
	return head[0] & 0x0f, string(text)
}

func TestClientThatGoesAwayCancelsItsRequest(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "gone", "concurrency = 4\nmax-instances = 1")
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := fetch(ctx, "GET", p.at(name, "/wait"), nil)
		result <- err
	}()
	eventually(t, "the request to reach the function", func() bool {
		return wantJSON[told](t, p, name, "/token").Waiting == 1
	})
	cancel()
	if err := <-result; err == nil {
		t.Fatal("the request was answered")
	}
	eventually(t, "the function to notice", func() bool {
		now := wantJSON[told](t, p, name, "/token")
		return now.Canceled == 1 && now.Waiting == 0
	})
}

func TestClientThatGoesAwayCancelsItsPlaceInTheQueue(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "left-queue", "max-instances = 1\nqueue = 1")
	h := p.hold(t, name) // the only instance is busy
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := fetch(ctx, "POST", p.at(name, "/token"), nil)
		result <- err
	}()
	p.awaitFunction(t, name, "to have a queue", queued(1))
	cancel()
	if err := <-result; err == nil {
		t.Fatal("the request was answered")
	}
	p.awaitFunction(t, name, "to have no queue", queued(0))
	h.finish(t)
	if got := wantJSON[told](t, p, name, "/token"); got.Served != 2 {
		t.Errorf("the function served %d requests, want the held one and this", got.Served)
	}
}

func TestRefusedRequests(t *testing.T) {
	p := commonPlatform(t)
	name := p.deploy(t, "strict", "")
	for _, c := range []struct {
		name, request string
		status        int
	}{
		{"no such function", "GET /invoke/nobody/ HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"no such route", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"length and chunks", "POST /invoke/" + name + "/token HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"two lengths", "POST /invoke/" + name + "/token HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", 400},
		{"a folded line", "GET /invoke/" + name + "/token HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400},
		{"no host", "GET /invoke/" + name + "/token HTTP/1.1\r\n\r\n", 400},
		{"a huge head", "GET /invoke/" + name + "/token HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", 431},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", p.status.Gateway)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, c.request); err != nil {
				t.Logf("the request was cut short: %v", err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var body bytes.Buffer
			if _, err := body.ReadFrom(resp.Body); err != nil {
				t.Fatal(err)
			}
			wantProblem(t, answer{resp.StatusCode, resp.Header, body.String()}, c.status)
		})
	}
}
