package load_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/lab/load"
	"github.com/unifaas/unifaas/internal/lab/record"
)

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL + "/path"
}

func request(url string) load.Request {
	return load.Request{URL: url, Want: []byte("hello"), Timeout: 5 * time.Second}
}

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

// raw serves each connection by hand.
func raw(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = c.Read(make([]byte, 1024))
				answer(c)
				_ = c.Close()
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

func problem(kind, detail string, status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"type":"urn:unifaas:problem:%s","detail":%q}`, kind, detail)
	}
}

func TestClasses(t *testing.T) {
	hang := make(chan struct{})
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = refused.Close()
	for name, c := range map[string]struct {
		url  string
		want record.Class
	}{
		"good":                {serve(t, hello), ""},
		"other bytes":         {serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hallo") }), record.WrongBytes},
		"status of its own":   {serve(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) }), record.WrongStatus},
		"never":               {serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done(); close(hang) }), record.Timeout},
		"nobody listens":      {"http://" + refused.Addr().String(), record.Reset},
		"closed":              {raw(t, func(net.Conn) {}), record.Reset},
		"reset":               {raw(t, func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }), record.Reset},
		"half a body":         {raw(t, func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel") }), record.Reset},
		"can't start":         {serve(t, problem("broken", `function "f" can't start: no such file`, 502)), record.FailedStart},
		"can't run here":      {serve(t, problem("unavailable", "no kvm", 503)), record.FailedStart},
		"broke":               {serve(t, problem("broken", "closed the connection", 502)), record.Reset},
		"platform's time out": {serve(t, problem("timeout", "did not begin to answer", 504)), record.Timeout},
	} {
		r := request(c.url)
		if name == "never" {
			r.Timeout = 50 * time.Millisecond
		}
		got := load.Once(t.Context(), r)
		switch {
		case c.want == "" && got.Failure != nil:
			t.Errorf("%s: got %+v", name, got.Failure)
		case c.want != "" && (got.Failure == nil || got.Failure.Class != c.want || got.Failure.Text == ""):
			t.Errorf("%s: got %+v, want class %q", name, got.Failure, c.want)
		}
	}
	<-hang // the server has seen that the client went
}

func TestCheckAndSize(t *testing.T) {
	url := serve(t, hello)
	seen := ""
	r := load.Request{URL: url, Timeout: time.Second, Check: func(b []byte) error { seen = string(b); return nil }}
	if got := load.Once(t.Context(), r); got.Failure != nil || seen != "hello" {
		t.Errorf("got %+v, seen %q", got.Failure, seen)
	}
	r.Check = func([]byte) error { return fmt.Errorf("bad") }
	if got := load.Once(t.Context(), r); got.Failure == nil || got.Failure.Class != record.WrongBytes {
		t.Errorf("a check that fails: got %+v", got.Failure)
	}
	for size, want := range map[int64]bool{5: true, 6: false} {
		got := load.Once(t.Context(), load.Request{URL: url, Timeout: time.Second, Size: size})
		if (got.Failure == nil) != want {
			t.Errorf("%d bytes are expected: got %+v", size, got.Failure)
		}
	}
}

func TestBurstIsAtOnce(t *testing.T) {
	var now, most atomic.Int64
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		time.Sleep(100 * time.Millisecond)
		now.Add(-1)
		hello(w, r)
	})
	results := load.Burst(t.Context(), request(url), 30)
	for i, r := range results {
		if r.Failure != nil || r.Latency < 100*time.Millisecond {
			t.Errorf("request %d: %v, %+v", i, r.Latency, r.Failure)
		}
	}
	if most.Load() != 30 {
		t.Errorf("at most %d of 30 were there at once", most.Load())
	}
}

// TestCoordinatedOmission: a server that stops for half a second delays every
// request that comes meanwhile. The open loop sees that, the closed one sees
// one slow request.
func TestCoordinatedOmission(t *testing.T) {
	stall := func() string {
		begin := time.Now()
		return serve(t, func(w http.ResponseWriter, r *http.Request) {
			if at := time.Since(begin); at > 300*time.Millisecond && at < 800*time.Millisecond {
				time.Sleep(800*time.Millisecond - at)
			}
			hello(w, r)
		})
	}
	slow := func(results []load.Result) (n int) {
		for _, r := range results {
			if r.Latency > 100*time.Millisecond {
				n++
			}
		}
		return n
	}
	open := load.Open(t.Context(), request(stall()), 100, time.Second)
	if n := slow(open.Results); n < 30 || n > 50 {
		t.Errorf("open loop: %d of %d were slow, want about 40", n, len(open.Results))
	}
	closed := load.Closed(t.Context(), request(stall()), 1, 1000)
	if n := slow(closed.Results); n > 1 {
		t.Errorf("closed loop: %d were slow, want one at most", n)
	}
	if open.Failed()+closed.Failed() > 0 {
		t.Errorf("%d and %d failed", open.Failed(), closed.Failed())
	}
}

func TestSweepEndsWhereRequestsFail(t *testing.T) {
	var now atomic.Int64
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		defer now.Add(-1)
		if now.Add(1) > 6 {
			http.Error(w, "too many", http.StatusServiceUnavailable)
			return
		}
		time.Sleep(time.Millisecond)
		hello(w, r)
	})
	points := load.Sweep(t.Context(), request(url), []int{1, 4, 16, 64}, 200)
	if len(points) != 3 || points[1].Broken || !points[2].Broken || len(points[2].Failures) == 0 {
		t.Errorf("got %+v", points)
	}
}

func TestInterrupted(t *testing.T) {
	before := runtime.NumGoroutine()
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	report := load.Closed(ctx, load.Request{URL: url, Timeout: time.Minute}, 8, 1000)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v to end", took)
	}
	if report.Failed() != len(report.Results) {
		t.Errorf("%d of %d failed", report.Failed(), len(report.Results))
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before+4; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, before there were %d", runtime.NumGoroutine(), before)
		}
	}
}

var (
	wrkMedian = regexp.MustCompile(`50%\s+([0-9.]+)ms`)
	wrkRate   = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
)

// TestAgreesWithWrk measures a server that takes 5 ms, where what the clients
// themselves cost is small.
func TestAgreesWithWrk(t *testing.T) {
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		t.Skip("wrk is not installed (on Debian and Ubuntu: apt-get install wrk)")
	}
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { time.Sleep(5 * time.Millisecond); hello(w, r) })
	out, err := exec.CommandContext(t.Context(), wrk, "-t1", "-c8", "-d2s", "--latency", url).Output()
	if err != nil {
		t.Fatal(err)
	}
	number := func(re *regexp.Regexp) float64 {
		m := re.FindStringSubmatch(string(out))
		if m == nil {
			t.Fatalf("wrk said:\n%s", out)
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(m[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	report := load.Closed(t.Context(), request(url), 8, 2500)
	var latencies []time.Duration
	for _, r := range report.Results {
		latencies = append(latencies, r.Latency)
	}
	slices.Sort(latencies)
	median := float64(latencies[len(latencies)/2]) / float64(time.Millisecond)
	for what, pair := range map[string][2]float64{"median": {median, number(wrkMedian)}, "rate": {report.Rate(), number(wrkRate)}} {
		if math.Abs(pair[0]/pair[1]-1) > 0.25 {
			t.Errorf("%s: ours %.2f, wrk's %.2f", what, pair[0], pair[1])
		}
	}
}
