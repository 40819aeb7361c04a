package gateway

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// TestFraming answers with every framing to clients of both versions.
func TestFraming(t *testing.T) {
	for _, tt := range []struct {
		name, response string
		method         string
		version        string
		body           string
		closes         bool
		check          func(*http.Response) bool
	}{
		{"sized", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", "GET", "1.1", "ab", false, nil},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n1\r\na\r\n1;x\r\nb\r\n0\r\nX-T: 1\r\nHost: x\r\n\r\n", "GET", "1.1", "ab", false,
			func(r *http.Response) bool { return r.Trailer.Get("X-T") == "1" && len(r.Trailer) == 1 }},
		{"until close", "HTTP/1.1 200 OK\r\n\r\nab", "GET", "1.1", "ab", false,
			func(r *http.Response) bool { return len(r.TransferEncoding) == 1 }},
		{"until close of 1.0", "HTTP/1.0 200 OK\r\n\r\nab", "GET", "1.1", "ab", false, nil},
		{"sized to 1.0", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", "GET", "1.0", "ab", true, nil},
		{"chunked to 1.0", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\nX-T: 1\r\n\r\n", "GET", "1.0", "ab", true,
			func(r *http.Response) bool { return r.TransferEncoding == nil && r.ContentLength == -1 }},
		{"until close to 1.0", "HTTP/1.1 200 OK\r\n\r\nab", "GET", "1.0", "ab", true, nil},
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", "HEAD", "1.1", "", false,
			func(r *http.Response) bool { return r.ContentLength == 7 }},
		{"HEAD chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HEAD", "1.1", "", false, nil},
		{"204", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "GET", "1.1", "", false,
			func(r *http.Response) bool { return r.Header.Get("Content-Length") == "" }},
		{"304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "GET", "1.1", "", false,
			func(r *http.Response) bool { return r.Header.Get("Content-Length") == "7" }},
		{"empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "GET", "1.1", "", false,
			func(r *http.Response) bool { return r.ContentLength == 0 }},
		{"early hints", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", "GET", "1.0", "ab", true, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := rawInstance(t, func(_ int, c net.Conn, r *bufio.Reader) {
				for {
					if _, err := readHead(r); err != nil {
						return
					}
					_, _ = io.WriteString(c, tt.response)
					if strings.HasPrefix(tt.name, "until close") {
						return
					}
				}
			})
			c := newRig(t, []*testInstance{i}).dial()
			for range 2 {
				c.send(fmt.Sprintf("%s /invoke/f HTTP/%s\r\nHost: h\r\n\r\n", tt.method, tt.version))
				resp, body := c.response(tt.method)
				if body != tt.body || tt.check != nil && !tt.check(resp) {
					t.Fatalf("got body %q, %+v", body, resp)
				}
				if tt.closes {
					c.ended()
					break
				}
			}
			for _, healthy := range i.health() {
				if !healthy {
					t.Error("the instance was released as broken")
				}
			}
		})
	}
}

func TestKeepAliveOfHTTP10(t *testing.T) {
	c := newRig(t, []*testInstance{handlerInstance(t, echo)}).dial()
	for range 2 {
		c.send("GET /invoke/f HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
		if resp, body := c.response("GET"); body != "GET / " || resp.Header.Get("Connection") != "keep-alive" {
			t.Fatalf("got %q, Connection %q", body, resp.Header.Get("Connection"))
		}
	}
}

func TestInterimResponsesArePassedOn(t *testing.T) {
	i := script(t, "HTTP/1.1 103 Early Hints\r\nLink: a\r\nConnection: close\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	c := newRig(t, []*testInstance{i}).dial()
	c.send(get("/"))
	for _, want := range []string{"HTTP/1.1 103 Early Hints|Link: a", "HTTP/1.1 102 Processing"} {
		head, err := readHead(c.r)
		if err != nil || strings.Join(head, "|") != want {
			t.Fatalf("got %q, %v, want %q", head, err, want)
		}
	}
	if resp, _ := c.response("GET"); resp.StatusCode != 200 {
		t.Errorf("got %d", resp.StatusCode)
	}
}

// TestEventsAreFlushedAtOnce has the function send an event only when the
// client has read the one before.
func TestEventsAreFlushedAtOnce(t *testing.T) {
	for _, version := range []string{"1.0", "1.1"} {
		next := make(chan struct{})
		r := newRig(t, []*testInstance{handlerInstance(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_ = http.NewResponseController(w).Flush()
			for range next {
				_, _ = io.WriteString(w, "data: x\n\n")
				_ = http.NewResponseController(w).Flush()
			}
		})})
		c := r.dial()
		c.send("GET /invoke/f HTTP/" + version + "\r\nHost: h\r\n\r\n")
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		event := make([]byte, len("data: x\n\n"))
		for range 100 {
			next <- struct{}{}
			if _, err := io.ReadFull(resp.Body, event); err != nil || string(event) != "data: x\n\n" {
				t.Fatalf("got %q, %v", event, err)
			}
		}
		close(next)
		if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
			t.Fatalf("got %q, %v at the end", rest, err)
		}
	}
}

// pattern is an endless stream that is cheap to make and repeats at no power
// of two.
type pattern struct{ n int }

var patternBlock = func() (b [251 * 300]byte) {
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}()

func (p *pattern) Read(b []byte) (int, error) {
	n := copy(b, patternBlock[p.n:])
	p.n = (p.n + n) % len(patternBlock)
	return n, nil
}

const bigBody = 128 << 20

func patternSum() [32]byte {
	h := sha256.New()
	_, _ = io.CopyN(h, &pattern{}, bigBody)
	return [32]byte(h.Sum(nil))
}

// TestBigBodiesInFlatMemory streams a body to the function and back at once,
// in both framings, and looks at the heap meanwhile.
func TestBigBodiesInFlatMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("moves a gigabyte")
	}
	r := newRig(t, []*testInstance{handlerInstance(t, func(w http.ResponseWriter, req *http.Request) {
		if n := req.ContentLength; n >= 0 {
			w.Header().Set("Content-Length", fmt.Sprint(n))
		}
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, req.Body)
	})})
	want := patternSum()
	for _, sized := range []bool{true, false} {
		runtime.GC()
		var before, now runtime.MemStats
		runtime.ReadMemStats(&before)
		req, err := http.NewRequest("POST", "http://"+r.addr+"/invoke/f", io.LimitReader(&pattern{}, bigBody))
		if err != nil {
			t.Fatal(err)
		}
		if sized {
			req.ContentLength = bigBody
		}
		transport := &http.Transport{}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		n, err := io.Copy(h, resp.Body)
		runtime.ReadMemStats(&now)
		_ = resp.Body.Close()
		transport.CloseIdleConnections()
		if err != nil || n != bigBody || [32]byte(h.Sum(nil)) != want {
			t.Fatalf("sized %v: got %d bytes, %v", sized, n, err)
		}
		if grown := int64(now.HeapInuse) - int64(before.HeapInuse); grown > 16<<20 {
			t.Errorf("sized %v: the heap grew by %d MiB", sized, grown>>20)
		}
	}
}

// TestBackPressure checks that a client that does not read stops the function.
func TestBackPressure(t *testing.T) {
	t.Parallel()
	wrote := make(chan int64, 1)
	i := rawInstance(t, func(_ int, c net.Conn, r *bufio.Reader) {
		_, _ = readHead(r)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
		_ = c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		n, _ := io.CopyN(c, &pattern{}, 1000000000)
		wrote <- n
	})
	c := newRig(t, []*testInstance{i}).dial()
	c.send(get("/"))
	if n := <-wrote; n > 100<<20 {
		t.Errorf("the function could write %d MiB to a client that reads nothing", n>>20)
	}
}

func TestExpectContinue(t *testing.T) {
	const head = "PUT /invoke/f HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
	t.Run("accepted", func(t *testing.T) {
		c := newRig(t, []*testInstance{handlerInstance(t, echo)}).dial()
		for range 2 {
			c.send(head)
			if interim, err := readHead(c.r); err != nil || interim[0] != "HTTP/1.1 100 Continue" {
				t.Fatalf("got %q, %v", interim, err)
			}
			c.send("abc")
			if _, body := c.response("PUT"); body != "PUT / abc" {
				t.Fatalf("got %q", body)
			}
		}
	})
	t.Run("refused", func(t *testing.T) {
		i := handlerInstance(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(417) })
		c := newRig(t, []*testInstance{i}).dial()
		c.send(head)
		if resp, _ := c.response("PUT"); resp.StatusCode != 417 || !resp.Close {
			t.Fatalf("got %d, close %v", resp.StatusCode, resp.Close)
		}
		_ = c.CloseWrite()
		c.ended()
		if h := i.awaitRelease(t, 1); !h[0] {
			t.Error("the instance was released as broken")
		}
	})
	t.Run("sent anyway", func(t *testing.T) {
		c := newRig(t, []*testInstance{handlerInstance(t, echo)}).dial()
		c.send(head + "abc")
		resp, err := http.ReadResponse(c.r, nil)
		if err == nil && resp.StatusCode == 100 {
			resp, err = http.ReadResponse(c.r, nil)
		}
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("got %v, %v", resp, err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != "PUT / abc" {
			t.Fatalf("got %q", body)
		}
	})
}

// TestEarlyResponse has the function answer before it has the whole body.
func TestEarlyResponse(t *testing.T) {
	t.Run("and read on", func(t *testing.T) {
		i := rawInstance(t, func(_ int, c net.Conn, r *bufio.Reader) {
			_, _ = readHead(r)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
			body := make([]byte, 6)
			_, _ = io.ReadFull(r, body)
			fmt.Fprintf(c, "6\r\n%s\r\n0\r\n\r\n", body)
			_, _ = readHead(r)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain")
		})
		c := newRig(t, []*testInstance{i}).dial()
		c.send("POST /invoke/f HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc")
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		hi := make([]byte, 2)
		if _, err := io.ReadFull(resp.Body, hi); err != nil {
			t.Fatal(err)
		}
		c.send("def")
		if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "abcdef" {
			t.Fatalf("got %q, %v", rest, err)
		}
		c.send(get("/"))
		if _, body := c.response("GET"); body != "again" {
			t.Fatalf("got %q on the same connections", body)
		}
	})
	t.Run("and close", func(t *testing.T) {
		i := rawInstance(t, func(_ int, c net.Conn, r *bufio.Reader) {
			_, _ = readHead(r)
			_, _ = io.WriteString(c, "HTTP/1.1 413 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, io.LimitReader(r, 1<<20))
		})
		c := newRig(t, []*testInstance{i}).dial()
		c.send("POST /invoke/f HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n")
		go func() { _, _ = io.CopyN(c, &pattern{}, 100000000) }()
		if resp, body := c.response("POST"); resp.StatusCode != 413 || body != "no" {
			t.Fatalf("got %d %q", resp.StatusCode, body)
		}
		if h := i.awaitRelease(t, 1); !h[0] {
			t.Error("the instance was released as broken")
		}
	})
}

func TestRequestTrailersReachTheFunction(t *testing.T) {
	got := make(chan http.Header, 1)
	r := newRig(t, []*testInstance{handlerInstance(t, func(_ http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		got <- req.Trailer
	})})
	r.exchange("POST /invoke/f HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n")
	if trailer := <-got; trailer.Get("X-Sum") != "1" {
		t.Errorf("trailer is %v", trailer)
	}
}

func TestBodyLimit(t *testing.T) {
	limit := func(o *Options, _ *faas.Function) { o.MaxBody = 10 }
	r := newRig(t, []*testInstance{handlerInstance(t, echo)}, limit)
	for _, tt := range []struct {
		raw    string
		status int
	}{
		{"POST /invoke/f HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789", 200},
		{"POST /invoke/f HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n0123456789a", 413},
		{"POST /invoke/f HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n0123456789a", 413},
		{"POST /invoke/f HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n", 200},
		{"POST /invoke/f HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n1\r\na\r\n", 413},
	} {
		if resp, body := r.exchange(tt.raw); resp.StatusCode != tt.status {
			t.Errorf("%q: got %d %q, want %d", tt.raw, resp.StatusCode, body, tt.status)
		}
	}
}

func TestMalformedChunkedRequest(t *testing.T) {
	i := handlerInstance(t, echo)
	r := newRig(t, []*testInstance{i})
	resp, body := r.exchange("POST /invoke/f HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n")
	if d := problemOf(t, resp, body); d.Status != 400 || !resp.Close {
		t.Errorf("got %+v, close %v", d, resp.Close)
	}
	if h := i.awaitRelease(t, 1); !h[0] {
		t.Error("the instance was released as broken")
	}
}
