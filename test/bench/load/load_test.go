package load

import (
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParseReport(t *testing.T) {
	r, err := parseReport([]byte("Running 1s test\n\nBENCH {\"requests\":3000,\"duration_us\":1500000,\"p50_us\":42,\"p99_us\":99,\"connect\":0,\"read\":1,\"write\":0,\"status\":2,\"timeout\":0}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Rate() != 2000 || r.P50US != 42 || r.Errors() != 3 {
		t.Errorf("read %+v", r)
	}
	for _, bad := range []string{"", "unable to connect to 127.0.0.1:1 Connection refused\n", "\nBENCH {\"requests\":\n"} {
		if _, err := parseReport([]byte(bad)); err == nil {
			t.Errorf("%q was taken for a report", bad)
		}
	}
}

func TestWrk(t *testing.T) {
	w, err := FindWrk(t.TempDir())
	if err != nil {
		t.Skip(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	r, err := w.Run(t.Context(), srv.URL+"/good", 2, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if r.Rate() < 1 || r.P50US <= 0 || r.P99US < r.P50US {
		t.Errorf("measured %+v", r)
	}
	if _, err := w.Run(t.Context(), srv.URL+"/bad", 2, time.Second); err == nil {
		t.Error("503 counted as an answer")
	}
}

func TestOpenLoopKeepsItsRate(t *testing.T) {
	var seen [2]atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := seen[len(r.URL.Path)-2].Add(1)
		if n%10 == 0 {
			w.Header().Set("Connection", "close")
		}
		if n == 5 {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer srv.Close()
	o := OpenLoop{
		Address: strings.TrimPrefix(srv.URL, "http://"), Paths: []string{"/a", "/bb"},
		Rate: 200, Connections: 4, Duration: time.Second,
	}
	r := o.Run(t.Context())
	if r.Due != 200 || r.Answered+r.Failed+r.Unsent != 200 {
		t.Errorf("requests got lost: %+v", r)
	}
	if r.Failed != 2 || r.FirstError == nil || !strings.Contains(r.FirstError.Error(), "502") {
		t.Errorf("failures: %+v", r)
	}
	if a, b := seen[0].Load(), seen[1].Load(); r.Unsent == 0 && (a != 100 || b != 100) {
		t.Errorf("paths got %d and %d requests", a, b)
	}
	if r.P50 <= 0 || r.P99 < r.P50 {
		t.Errorf("latencies: %+v", r)
	}
}

func TestOpenLoopChargesStalls(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		time.Sleep(20 * time.Millisecond) // a server too slow for the rate, not a wait for anything
	}))
	defer srv.Close()
	o := OpenLoop{
		Address: strings.TrimPrefix(srv.URL, "http://"), Paths: []string{"/"},
		Rate: 200, Connections: 1, Duration: 500 * time.Millisecond,
	}
	// 100 requests of 20 ms each on one connection: the last is due at half a
	// second and answered after two, and half of all wait for most of one.
	if r := o.Run(t.Context()); r.P50 < 300*time.Millisecond {
		t.Errorf("a queue of a second and more is not in the latencies: %+v", r)
	}
}

func TestHistogramIsWithinAThirtySecond(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		us := rapid.Uint64Range(0, 1e12).Draw(t, "us")
		var h histogram
		h.add(time.Duration(us) * time.Microsecond)
		got := float64(h.quantile(0.5).Microseconds())
		if got > float64(us) || math.Abs(got-float64(us)) > float64(us)/steps {
			t.Fatalf("%d us became %v", us, got)
		}
	})
}
