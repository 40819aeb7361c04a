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
	"sync/atomic"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// TestBrokenFunctions has functions break the protocol in every way.
func TestBrokenFunctions(t *testing.T) {
	for _, tt := range []struct {
		name, response string
		status         int // 0: the response has begun and is cut
	}{
		{"garbage", "\x00\x01\x02garbage\r\n\r\n", 502},
		{"bare LF", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 502},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", 502},
		{"CL and TE", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok", 502},
		{"split", "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\n\r\n", 502},
		{"half a head", "HTTP/1.1 200 OK\r\nContent-Le", 502},
		{"nothing", "", 502},
		{"huge head", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 100<<10), 502},
		{"many fields", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: a\r\n", 200) + "\r\n", 502},
		{"interim for ever", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100), 502},
		{"101 unasked", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", 502},
		{"bad first chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 502},
		{"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", 0},
		{"half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok", 0},
		{"no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := rawInstance(t, func(_ int, c net.Conn, r *bufio.Reader) {
				if _, err := readHead(r); err == nil {
					_, _ = io.WriteString(c, tt.response)
					_ = c.(*net.TCPConn).CloseWrite()
					_, _ = io.Copy(io.Discard, r)
				}
			})
			c := newRig(t, []*testInstance{i}).dial()
			c.send("POST /invoke/f HTTP/1.1\r\nHost: h\r\n\r\n")
			resp, err := http.ReadResponse(c.r, nil)
			for err == nil && resp.StatusCode == 102 {
				resp, err = http.ReadResponse(c.r, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if tt.status == 0 {
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("a body that is cut reads as %q, %v", body, err)
				}
			} else if d := problemOf(t, resp, string(body)); d.Status != tt.status || strings.Contains(d.Detail, "garbage") {
				t.Errorf("got %+v, want %d", d, tt.status)
			}
			if h := i.awaitRelease(t, 1); h[0] {
				t.Error("the instance was released as healthy")
			}
		})
	}
}

// TestCutResponseToHTTP10 checks that a response that ends with the connection
// does not look whole when it is not.
func TestCutResponseToHTTP10(t *testing.T) {
	first := make(chan struct{})
	i := rawInstance(t, func(_ int, c net.Conn, r *bufio.Reader) {
		_, _ = readHead(r)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
		<-first
	})
	c := newRig(t, []*testInstance{i}).dial()
	c.send("GET /invoke/f HTTP/1.0\r\n\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	close(first)
	if rest, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("a response that was cut looks whole: %q", rest)
	}
}

// silent is a function that reads a request, answers with response and does
// nothing more until its connection ends.
func silent(t *testing.T, response string) (*testInstance, <-chan struct{}, <-chan struct{}) {
	got, ended := make(chan struct{}, 64), make(chan struct{}, 64)
	i := rawInstance(t, func(_ int, c net.Conn, r *bufio.Reader) {
		if _, err := readHead(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, response)
		got <- struct{}{}
		_, _ = io.Copy(io.Discard, r)
		ended <- struct{}{}
	})
	return i, got, ended
}

func timeouts(t faas.Timeouts) tune {
	return func(_ *Options, f *faas.Function) { f.Timeout = t }
}

func TestFunctionTimeouts(t *testing.T) {
	t.Parallel()
	const short = 100 * time.Millisecond
	begun := "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok"
	for _, tt := range []struct {
		name, response string
		timeouts       faas.Timeouts
		cut            bool
	}{
		{"first byte", "", faas.Timeouts{FirstByte: short}, false},
		{"first byte after interim", "HTTP/1.1 102 Processing\r\n\r\n", faas.Timeouts{FirstByte: short}, false},
		{"first byte after half a head", "HTTP/1.1 200 OK\r\n", faas.Timeouts{FirstByte: short}, false},
		{"idle", "", faas.Timeouts{Idle: short}, false},
		{"total", "", faas.Timeouts{Total: short}, false},
		{"idle in the body", begun, faas.Timeouts{Idle: short}, true},
		{"total in the body", begun, faas.Timeouts{Total: short}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i, _, ended := silent(t, tt.response)
			c := newRig(t, []*testInstance{i}, timeouts(tt.timeouts)).dial()
			start := time.Now()
			c.send(get("/"))
			resp, err := http.ReadResponse(c.r, nil)
			for err == nil && resp.StatusCode == 102 {
				resp, err = http.ReadResponse(c.r, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if took := time.Since(start); took < short {
				t.Errorf("ended after %v already", took)
			}
			if tt.cut {
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("got %q, %v", body, err)
				}
			} else if d := problemOf(t, resp, string(body)); d.Status != 504 {
				t.Errorf("got %+v", d)
			} else {
				c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n") // the connection is good
				if resp, _ := c.response("GET"); resp.StatusCode != 404 {
					t.Errorf("got %d for the next request", resp.StatusCode)
				}
			}
			<-ended
			if h := i.awaitRelease(t, 1); h[0] {
				t.Error("the instance was released as healthy")
			}
		})
	}
}

// TestSlowUploadIsNotTheFunctionsFault: FirstByte counts from the end of the
// request, and a client that stops sending is told so.
func TestSlowUploadIsNotTheFunctionsFault(t *testing.T) {
	t.Parallel()
	i := handlerInstance(t, echo)
	r := newRig(t, []*testInstance{i}, timeouts(faas.Timeouts{FirstByte: 100 * time.Millisecond, Idle: 400 * time.Millisecond}))
	c := r.dial()
	c.send("POST /invoke/f HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n")
	for range 4 {
		time.Sleep(100 * time.Millisecond) // slow is what is tested
		c.send("x")
	}
	if resp, body := c.response("POST"); resp.StatusCode != 200 || body != "POST / xxxx" {
		t.Fatalf("got %d %q", resp.StatusCode, body)
	}
	c.send("POST /invoke/f HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nx")
	resp, body := c.response("POST")
	if d := problemOf(t, resp, body); d.Status != 408 || !resp.Close {
		t.Errorf("got %+v", d)
	}
	if h := i.awaitRelease(t, 2); !h[0] || !h[1] {
		t.Errorf("the instance was released as broken: %v", h)
	}
}

func TestSlowClients(t *testing.T) {
	t.Parallel()
	quick := func(o *Options, _ *faas.Function) {
		o.HeadTimeout, o.KeepAlive = 200*time.Millisecond, 300*time.Millisecond
	}
	r := newRig(t, []*testInstance{handlerInstance(t, echo)}, quick)
	t.Run("drips its head", func(t *testing.T) {
		c := r.dial()
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for _, b := range []byte(get("/") + strings.Repeat("x", 1000)) {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
			}
		}()
		resp, body := c.response("GET")
		if d := problemOf(t, resp, body); d.Status != 408 || !resp.Close {
			t.Errorf("got %+v", d)
		}
	})
	t.Run("says nothing", func(t *testing.T) { r.dial().ended() })
	t.Run("says nothing more", func(t *testing.T) {
		c := r.dial()
		c.send(get("/"))
		c.response("GET")
		c.ended()
	})
}

func TestClientThatReadsNothingIsCut(t *testing.T) {
	t.Parallel()
	done := make(chan error, 1)
	i := rawInstance(t, func(_ int, c net.Conn, r *bufio.Reader) {
		_, _ = readHead(r)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
		_, err := io.CopyN(c, &pattern{}, 1000000000)
		done <- err
	})
	quick := func(o *Options, f *faas.Function) {
		o.ClientTimeout = 200 * time.Millisecond
		f.Timeout = faas.Timeouts{}
	}
	c := newRig(t, []*testInstance{i}, quick).dial()
	c.send(get("/"))
	if err := <-done; err == nil {
		t.Error("the function could send everything")
	}
	if h := i.awaitRelease(t, 1); !h[0] {
		t.Error("the instance was released as broken")
	}
}

// TestClientThatGoesCancels has a client go in each phase of an exchange.
func TestClientThatGoesCancels(t *testing.T) {
	const within = 200 * time.Millisecond
	// On a machine that does something else meanwhile, one try may be late.
	quickly := func(t *testing.T, try func(t *testing.T) time.Duration) {
		var took time.Duration
		for range 5 {
			if took = try(t); took <= within {
				return
			}
		}
		t.Errorf("took %v, want %v at most", took, within)
	}
	t.Run("queued", func(t *testing.T) {
		quickly(t, func(t *testing.T) time.Duration {
			entered, left := make(chan struct{}), make(chan error, 1)
			r := newRig(t, nil)
			r.pool.cold = func(ctx context.Context) error {
				close(entered)
				<-ctx.Done()
				left <- ctx.Err()
				return ctx.Err()
			}
			c := r.dial()
			c.send(get("/"))
			<-entered
			start := time.Now()
			_ = c.Close()
			if err := <-left; !errors.Is(err, context.Canceled) {
				t.Errorf("the queue's context ended with %v", err)
			}
			return time.Since(start)
		})
	})
	for name, request := range map[string]string{
		"waiting":                  get("/"),
		"waiting with more ahead":  get("/") + get("/next"),
		"uploading":                "POST /invoke/f HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx",
		"uploading chunks":         "POST /invoke/f HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
		"uploaded a streamed body": "POST /invoke/f HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			quickly(t, func(t *testing.T) time.Duration {
				i, got, ended := silent(t, "")
				c := newRig(t, []*testInstance{i}).dial()
				c.send(request)
				<-got
				start := time.Now()
				_ = c.Close()
				<-ended
				took := time.Since(start)
				if h := i.awaitRelease(t, 1); !h[0] {
					t.Error("the instance was released as broken")
				}
				return took
			})
		})
	}
	t.Run("reading a stream", func(t *testing.T) {
		quickly(t, func(t *testing.T) time.Duration {
			i, got, ended := silent(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
			c := newRig(t, []*testInstance{i}).dial()
			c.send(get("/"))
			<-got
			start := time.Now()
			_ = c.Close()
			<-ended
			return time.Since(start)
		})
	})
}

// TestRetries checks each rule of when a request is sent again.
func TestRetries(t *testing.T) {
	// hangUp takes a request and closes without a word.
	hangUp := func(t *testing.T, seen *atomic.Int32) *testInstance {
		return rawInstance(t, func(_ int, _ net.Conn, r *bufio.Reader) {
			if _, err := readHead(r); err == nil {
				seen.Add(1)
			}
		})
	}
	unreachable := func(t *testing.T, _ *atomic.Int32) *testInstance {
		ln := listen(t)
		defer func() { _ = ln.Close() }()
		return newInstance(ln.Addr())
	}
	halfHead := func(t *testing.T, seen *atomic.Int32) *testInstance {
		return rawInstance(t, func(_ int, c net.Conn, r *bufio.Reader) {
			if _, err := readHead(r); err == nil {
				seen.Add(1)
				_, _ = io.WriteString(c, "HTTP/1.1 200")
			}
		})
	}
	const body = "Content-Length: 3\r\n\r\nabc"
	for _, tt := range []struct {
		name    string
		first   func(*testing.T, *atomic.Int32) *testInstance
		request string
		repeats bool
	}{
		{"GET", hangUp, "GET %s\r\n", true},
		{"HEAD", hangUp, "HEAD %s\r\n", true},
		{"OPTIONS", hangUp, "OPTIONS %s\r\n", true},
		{"DELETE", hangUp, "DELETE %s\r\n", true},
		{"PUT with a body that is held", hangUp, "PUT %s" + body, true},
		{"PUT with a body that streams", hangUp, "PUT %sTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", false},
		{"POST", hangUp, "POST %s" + body, false},
		{"PATCH", hangUp, "PATCH %s" + body, false},
		{"unknown method", hangUp, "BREW %s\r\n", false},
		{"GET after half a head", halfHead, "GET %s\r\n", false},
		{"POST that was never sent", unreachable, "POST %s" + body, true},
		{"POST that streams and was never sent", unreachable, "POST %sTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var seen atomic.Int32
			first, second := tt.first(t, &seen), handlerInstance(t, echo)
			r := newRig(t, []*testInstance{first, second})
			resp, got := r.exchange(fmt.Sprintf(tt.request, "/invoke/f HTTP/1.1\r\nHost: h\r\n"))
			want, dials := 502, 0
			if tt.repeats {
				want, dials = 200, 1
			}
			if resp.StatusCode != want || second.dialled() != dials || seen.Load() > 1 {
				t.Errorf("got %d %q, %d dials of the second instance, the first got it %d times", resp.StatusCode, got, second.dialled(), seen.Load())
			}
			if h := first.awaitRelease(t, 1); h[0] {
				t.Error("the first instance was released as healthy")
			}
		})
	}
	t.Run("bounded", func(t *testing.T) {
		var seen atomic.Int32
		r := newRig(t, []*testInstance{hangUp(t, &seen)}, func(o *Options, _ *faas.Function) { o.Tries = 4 })
		resp, _ := r.exchange(get("/"))
		if resp.StatusCode != 502 || seen.Load() != 4 {
			t.Errorf("got %d after %d tries, want 502 after 4", resp.StatusCode, seen.Load())
		}
	})
}

// TestKeptConnections: those that the function closed are not used, and one
// that it closes just as it gets a request is replaced when that is safe.
func TestKeptConnections(t *testing.T) {
	t.Run("closed while idle", func(t *testing.T) {
		closed := make(chan struct{}, 8)
		i := rawInstance(t, func(n int, c net.Conn, r *bufio.Reader) {
			_, _ = readHead(r)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n)
			_ = c.Close()
			closed <- struct{}{}
		})
		c := newRig(t, []*testInstance{i}).dial()
		for n := range 3 {
			c.send("POST /invoke/f HTTP/1.1\r\nHost: h\r\n\r\n")
			if resp, body := c.response("POST"); resp.StatusCode != 200 || body != fmt.Sprint(n) {
				t.Fatalf("got %d %q on connection %d", resp.StatusCode, body, n)
			}
			<-closed
		}
	})
	t.Run("speaks unasked", func(t *testing.T) {
		i := rawInstance(t, func(n int, c net.Conn, r *bufio.Reader) {
			for {
				if _, err := readHead(r); err != nil {
					return
				}
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%dHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", n)
			}
		})
		c := newRig(t, []*testInstance{i}).dial()
		for n := range 3 {
			c.send(get("/"))
			if _, body := c.response("GET"); body != fmt.Sprint(n) {
				t.Fatalf("got %q on connection %d", body, n)
			}
		}
	})
	for method, status := range map[string]int{"GET": 200, "POST": 502} {
		t.Run("closed at the second request, "+method, func(t *testing.T) {
			i := rawInstance(t, func(n int, c net.Conn, r *bufio.Reader) {
				if _, err := readHead(r); err != nil {
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				_, _ = readHead(r)
			})
			c := newRig(t, []*testInstance{i}).dial()
			c.send(get("/"))
			c.response("GET")
			c.send(method + " /invoke/f HTTP/1.1\r\nHost: h\r\n\r\n")
			if resp, body := c.response(method); resp.StatusCode != status {
				t.Errorf("got %d %q, want %d", resp.StatusCode, body, status)
			}
			for _, healthy := range i.awaitRelease(t, 2) {
				if !healthy {
					t.Error("the instance was released as broken")
				}
			}
		})
	}
	t.Run("reused and bounded in time", func(t *testing.T) {
		ended := make(chan int, 8)
		i := rawInstance(t, func(n int, c net.Conn, r *bufio.Reader) {
			for {
				if _, err := readHead(r); err != nil {
					ended <- n
					return
				}
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n)
			}
		})
		r := newRig(t, []*testInstance{i}, func(o *Options, _ *faas.Function) { o.UpstreamIdle = 200 * time.Millisecond })
		c := r.dial()
		for range 20 {
			c.send(get("/"))
			if _, body := c.response("GET"); body != "0" {
				t.Fatalf("got %q, want the first connection", body)
			}
		}
		if n := <-ended; n != 0 {
			t.Errorf("connection %d was closed", n)
		}
	})
}
