package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/functions/benchmark/workload"
)

func serve(t *testing.T) http.Handler {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive.zip")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := workload.WriteArchive(f, 2, 1000); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return handler(path)
}

func get(h http.Handler, target string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, target, nil))
	return rec
}

func TestWorkloads(t *testing.T) {
	h := serve(t)
	for target, want := range map[string]float64{ // the result; -1 is any
		"/fib?n=10": 55, "/fft?n=64": -1, "/matrix?n=8": -1, "/alloc?mib=2": 2 << 20, "/unzip": 2000, "/read": -1,
	} {
		rec := get(h, target)
		var a struct {
			Seconds *float64
			Result  *float64
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &a); rec.Code != http.StatusOK || err != nil || a.Seconds == nil || a.Result == nil {
			t.Errorf("GET %s: %d %s (%v)", target, rec.Code, rec.Body, err)
			continue
		}
		if *a.Seconds < 0 || want >= 0 && *a.Result != want {
			t.Errorf("GET %s: got %s, want the result %v", target, rec.Body, want)
		}
	}
}

func TestBadInput(t *testing.T) {
	h := serve(t)
	for target, want := range map[string]string{
		"/fib":                  "n is missing: write /fib?n=NUMBER",
		"/fib?n=":               "n is missing",
		"/fib?n=-1":             "not a whole number from 1",
		"/fib?n=1e6":            "not a whole number",
		"/fib?n=99999999999999": "from 1 to 10000000000",
		"/fft?n=1000":           "not a power of two",
		"/fft?n=16777216":       "from 1 to 8388608",
		"/matrix?n=5000":        "from 1 to 4096",
		"/alloc?mib=x":          "mib=\"x\" is not a whole number",
		"/static?size=-5":       "size=\"-5\" is not a whole number",
		"/static?sise=5":        "size is missing",
	} {
		if rec := get(h, target); rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), want) {
			t.Errorf("GET %s: got %d %q, want 400 and %q", target, rec.Code, rec.Body, want)
		}
	}
	if rec := get(handler("/nowhere"), "/read"); rec.Code != http.StatusInternalServerError {
		t.Errorf("GET /read without a file: got %d", rec.Code)
	}
}

func TestStatic(t *testing.T) {
	h := serve(t)
	for target, want := range map[string]int{"/static": 64, "/static?size=1": 1, "/static?size=200000": 200000} {
		rec := get(h, target)
		if rec.Code != http.StatusOK || rec.Body.Len() != want || rec.Header().Get("Content-Length") != strconv.Itoa(want) {
			t.Errorf("GET %s: %d with %d bytes, want %d", target, rec.Code, rec.Body.Len(), want)
		}
	}
}

func TestEcho(t *testing.T) {
	server := httptest.NewServer(serve(t))
	defer server.Close()
	body := strings.Repeat("0123456789", 50_000)
	resp, err := http.Post(server.URL+"/echo", "text/x-mine", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != body {
		t.Errorf("echo: %d bytes, %v; want %d", len(got), err, len(body))
	}
	if resp.Header.Get("Content-Type") != "text/x-mine" {
		t.Errorf("Content-Type: got %q", resp.Header.Get("Content-Type"))
	}
}
