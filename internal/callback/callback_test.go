package callback

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = netip.MustParseAddr("127.0.0.1")

func listen(t *testing.T) *Server {
	t.Helper()
	s, err := Listen(netip.AddrPortFrom(loopback, 0), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// call makes a request from one of the loopback addresses and returns its
// answer's status.
func call(t *testing.T, from, method, url string) int {
	t.Helper()
	status, err := try(t.Context(), from, method, url)
	if err != nil {
		t.Fatalf("%s %s from %s: %v", method, url, from, err)
	}
	return status
}

func try(ctx context.Context, from, method, url string) (int, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	client := http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func came(c *Call) bool {
	select {
	case <-c.Done():
		return true
	default:
		return false
	}
}

func TestWhoMayCall(t *testing.T) {
	const owner, stranger = "127.0.0.2", "127.0.0.3"
	for _, c := range []struct {
		name, from, method, path string
		status                   int
		counts                   bool
	}{
		{"the instance", owner, "GET", "/ready/a-1", 200, true},
		{"the instance, by POST", owner, "POST", "/ready/a-1", 200, true},
		{"with a query", owner, "GET", "/ready/a-1?x=y", 200, true},
		{"another address", stranger, "GET", "/ready/a-1", 403, false},
		{"another instance", owner, "GET", "/ready/a-2", 404, false},
		{"no instance", owner, "GET", "/ready/", 404, false},
		{"a longer path", owner, "GET", "/ready/a-1/more", 404, false},
		{"another page", owner, "GET", "/", 404, false},
		{"another method", owner, "DELETE", "/ready/a-1", 405, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := listen(t)
			expected := s.Expect("a-1", netip.MustParseAddr(owner))
			defer expected.Cancel()
			url := strings.TrimSuffix(s.URL(""), readyPath) + c.path
			if got := call(t, c.from, c.method, url); got != c.status {
				t.Errorf("got %d, want %d", got, c.status)
			}
			if came(expected) != c.counts {
				t.Errorf("it counts: %v, want %v", came(expected), c.counts)
			}
		})
	}
}

// TestAddressComesLate has an instance call before its address is known.
func TestAddressComesLate(t *testing.T) {
	for from, want := range map[string]int{"127.0.0.2": 200, "127.0.0.3": 403} {
		s := listen(t)
		c := s.Expect("a-1", netip.Addr{})
		status := make(chan int, 1)
		go func() {
			got, err := try(t.Context(), from, "GET", s.URL("a-1"))
			if err != nil {
				t.Error(err)
			}
			status <- got
		}()
		// Bound while it waits, or before: the answer is the same.
		c.Bind(netip.MustParseAddr("127.0.0.2"))
		c.Bind(netip.MustParseAddr("127.0.0.3")) // only the first counts
		if got := <-status; got != want {
			t.Errorf("from %s: got %d, want %d", from, got, want)
		}
		if came(c) != (want == 200) {
			t.Errorf("from %s: it counts: %v", from, came(c))
		}
	}
}

func TestCanceled(t *testing.T) {
	s := listen(t)
	c := s.Expect("a-1", loopback)
	again := s.Expect("a-1", loopback)
	c.Cancel() // not what has taken its place
	for range 2 {
		if got := call(t, "127.0.0.1", "GET", s.URL("a-1")); got != 200 {
			t.Errorf("got %d", got)
		}
	}
	if came(c) || !came(again) {
		t.Error("the call counts for what was expected before")
	}
	again.Cancel()
	again.Cancel()
	if got := call(t, "127.0.0.1", "GET", s.URL("a-1")); got != 404 {
		t.Errorf("after Cancel: got %d", got)
	}
}

func TestNilCall(t *testing.T) {
	var c *Call
	c.Bind(loopback)
	c.Cancel()
	if came(c) {
		t.Error("a nil call has come")
	}
}

// TestListenAgain is a restart of the platform: the address is the same.
func TestListenAgain(t *testing.T) {
	s := listen(t)
	addr := s.Addr()
	if _, err := Listen(addr, Options{}); err == nil {
		t.Error("two servers on one address")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Listen(addr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	c := again.Expect("a-1", loopback)
	if got := call(t, "127.0.0.1", "GET", again.URL("a-1")); got != 200 || !came(c) {
		t.Errorf("got %d", got)
	}
}

// TestOneAddressIsBounded has one address take all that it can get, and
// another call all the same.
func TestOneAddressIsBounded(t *testing.T) {
	s := listen(t)
	greedy := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.3")}}
	refused := 0
	for range 4 * maxFromOne {
		c, err := greedy.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		var timeout net.Error
		if _, err := c.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
			refused++
		}
	}
	if refused != 3*maxFromOne {
		t.Errorf("%d of %d connections were refused, want all but %d", refused, 4*maxFromOne, maxFromOne)
	}
	c := s.Expect("a-1", netip.MustParseAddr("127.0.0.2"))
	if got := call(t, "127.0.0.2", "GET", s.URL("a-1")); got != 200 || !came(c) {
		t.Errorf("another address: got %d", got)
	}
}

func TestLongHead(t *testing.T) {
	s := listen(t)
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET /ready/a-1 HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("x", 16<<10)); err != nil {
		return // cut off while it was sent
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %s", resp.Status)
	}
}
