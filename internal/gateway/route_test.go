package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// problemOf decodes a problem document and checks what all have in common.
func problemOf(t *testing.T, resp *http.Response, body string) document {
	t.Helper()
	var d document
	if err := json.Unmarshal([]byte(body), &d); err != nil {
		t.Fatalf("status %d with body %q: %v", resp.StatusCode, body, err)
	}
	if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("Content-Type is %q", ct)
	}
	if d.Status != resp.StatusCode || d.Type == "" || d.Title == "" || d.Detail == "" ||
		d.Instance == "" || d.Instance != resp.Header.Get("X-Request-Id") {
		t.Errorf("incomplete problem with status %d: %+v", resp.StatusCode, d)
	}
	return d
}

func TestNotFound(t *testing.T) {
	r := newRig(t, nil)
	c := r.dial()
	for _, target := range []string{"/", "/invoke", "/invoke/", "/invoke/g", "/Invoke/f", "/invoke/%66", "/invoke/..", "/x/invoke/f", "//invoke/f"} {
		c.send("GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n") // on one connection: it stays open
		resp, body := c.response("GET")
		if d := problemOf(t, resp, body); d.Status != 404 {
			t.Errorf("%s: got %+v", target, d)
		}
	}
	c.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	if resp, body := c.response("HEAD"); resp.StatusCode != 404 || body != "" || resp.ContentLength <= 0 {
		t.Errorf("HEAD: got %d, %q", resp.StatusCode, body)
	}
	if resp, _ := c.response("GET"); resp.StatusCode != 404 || !resp.Close {
		t.Errorf("with Connection: close: got %d, close %v", resp.StatusCode, resp.Close)
	}
	c.ended()
}

func TestKindToStatus(t *testing.T) {
	kinds := map[faas.Kind]int{
		faas.KindNotFound: 404, faas.KindInvalid: 400, faas.KindTooLarge: 413, faas.KindBusy: 429,
		faas.KindUnavailable: 503, faas.KindBroken: 502, faas.KindTimeout: 504, faas.KindInternal: 500,
	}
	r := newRig(t, nil)
	for kind, status := range kinds {
		r.pool.set(func() error { return faas.Errorf(kind, "no instance") })
		resp, body := r.exchange(get("/"))
		if d := problemOf(t, resp, body); d.Status != status || d.Detail != "no instance" {
			t.Errorf("%v: got %+v, want %d", kind, d, status)
		}
		if retry := resp.Header.Get("Retry-After"); (retry != "") != (kind == faas.KindBusy) {
			t.Errorf("%v: Retry-After is %q", kind, retry)
		}
	}
	r.pool.set(func() error { return &faas.Error{Kind: faas.KindBusy, Message: "full", RetryAfter: 1500e6} })
	if resp, _ := r.exchange(get("/")); resp.Header.Get("Retry-After") != "2" {
		t.Errorf("Retry-After is %q, want 2", resp.Header.Get("Retry-After"))
	}
	r.pool.set(func() error { return fmt.Errorf("secret: %w", io.ErrShortWrite) })
	if resp, body := r.exchange(get("/")); resp.StatusCode != 500 || strings.Contains(body, "secret") {
		t.Errorf("an unknown error is answered with %d %q", resp.StatusCode, body)
	}
}

func TestRefusedHeads(t *testing.T) {
	r := newRig(t, nil)
	for _, tt := range []struct {
		raw    string
		status int
	}{
		{"POST /invoke/f HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"GET /invoke/f HTTP/1.1\nHost: h\n\n", 400},
		{"GET /invoke/f HTTP/1.1\r\n\r\n", 400},
		{"GET /invoke/f HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", 400},
		{"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		{"\r\n\r\nGET /invoke/f HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		{"POST /invoke/f HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
		{"GET /" + strings.Repeat("a", 9000) + " HTTP/1.1\r\nHost: h\r\n\r\n", 414},
		{"GET /" + strings.Repeat("a", 40000), 414},
		{"GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("a", 40000), 431},
		{"GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("X: a\r\n", 200) + "\r\n", 431},
	} {
		c := r.dial()
		c.send(tt.raw)
		resp, body := c.response("GET")
		if d := problemOf(t, resp, body); d.Status != tt.status || !resp.Close {
			t.Errorf("%.60q: got %+v, close %v, want %d and close", tt.raw, d, resp.Close, tt.status)
		}
		_ = c.CloseWrite()
		c.ended()
	}
}

func TestOneEmptyLineBeforeARequest(t *testing.T) {
	r := newRig(t, []*testInstance{handlerInstance(t, echo)})
	c := r.dial()
	for range 3 {
		c.send("\r\n" + get("/a"))
		if resp, body := c.response("GET"); resp.StatusCode != 200 || body != "GET /a " {
			t.Fatalf("got %d %q", resp.StatusCode, body)
		}
	}
}

func TestPipelining(t *testing.T) {
	r := newRig(t, []*testInstance{handlerInstance(t, echo)})
	c := r.dial()
	const n = 300 // several buffers full
	c.send(strings.Repeat("POST /invoke/f/p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", n) + get("/last"))
	for range n {
		if resp, body := c.response("POST"); resp.StatusCode != 200 || body != "POST /p abc" {
			t.Fatalf("got %d %q", resp.StatusCode, body)
		}
	}
	if _, body := c.response("GET"); body != "GET /last " {
		t.Fatalf("got %q", body)
	}
}

func TestHeadersToFunction(t *testing.T) {
	const (
		valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		zero  = "00-00000000000000000000000000000000-b7ad6b7169203331-01"
	)
	got := make(chan *http.Request, 1)
	record := func(w http.ResponseWriter, r *http.Request) { got <- r }
	i := handlerInstance(t, record)
	trusting := func(o *Options, _ *faas.Function) { o.TrustForwarded = true }
	for _, tt := range []struct {
		name   string
		fields string
		tunes  []tune
		want   map[string]string // "": absent; "*": present
	}{
		{"plain", "X-A: 1\r\nx-a: 2\r\n", nil, map[string]string{
			"X-A": "1|2", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "h",
			"Traceparent": "*", "X-Request-Id": "*", "Connection": "",
		}},
		{"hop by hop", "Connection: x-b, keep-alive\r\nX-B: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Connection: x\r\n" +
			"Proxy-Authorization: x\r\nUpgrade: websocket\r\n", nil, map[string]string{
			"X-B": "", "Keep-Alive": "", "Te": "", "Proxy-Connection": "", "Proxy-Authorization": "", "Upgrade": "", "Connection": "",
		}},
		{"forged", "X-Forwarded-For: 1.2.3.4\r\nX_Forwarded_For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nForwarded: for=x\r\n" +
			"Connection: x-forwarded-for, x-request-id\r\n", nil, map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X_forwarded_for": "", "X-Forwarded-Proto": "http", "Forwarded": "", "X-Request-Id": "*",
		}},
		{"trusted", "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nX-Forwarded-Proto: https\r\nForwarded: for=x\r\n",
			[]tune{trusting}, map[string]string{
				"X-Forwarded-For": "1.2.3.4, 5.6.7.8, 127.0.0.1", "X-Forwarded-Proto": "https", "Forwarded": "for=x", "X-Forwarded-Host": "h",
			}},
		{"trace kept", "traceparent: " + valid + "\r\ntracestate: a=b\r\nX-Request-Id: a-B.1\r\n", nil, map[string]string{
			"Traceparent": valid, "Tracestate": "a=b", "X-Request-Id": "a-B.1",
		}},
		{"trace replaced", "traceparent: " + zero + "\r\ntracestate: a=b\r\nX-Request-Id: a<b\r\n", nil, map[string]string{
			"Traceparent": "*", "Tracestate": "", "X-Request-Id": "*",
		}},
		{"twice", "traceparent: " + valid + "\r\ntraceparent: " + valid + "\r\nX-Request-Id: a\r\nX-Request-Id: b\r\n", nil, map[string]string{
			"Traceparent": "*", "X-Request-Id": "*",
		}},
		{"h2c", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n", nil, map[string]string{
			"Upgrade": "", "Connection": "", "Http2-Settings": "",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, []*testInstance{i}, tt.tunes...)
			resp, _ := r.exchange("GET /invoke/f HTTP/1.1\r\nHost: h\r\n" + tt.fields + "\r\n")
			req := <-got
			if req.Host != "h" {
				t.Errorf("Host is %q", req.Host)
			}
			for name, want := range tt.want {
				value := strings.Join(req.Header[name], "|")
				switch {
				case want == "*" && (value == "" || strings.Contains(tt.fields, ": "+value+"\r")):
					t.Errorf("%s is %q, want a new one", name, value)
				case want != "*" && value != want:
					t.Errorf("%s is %q, want %q", name, value, want)
				}
			}
			if tp := req.Header.Get("Traceparent"); !validTraceparent([]byte(tp)) {
				t.Errorf("traceparent %q is not valid", tp)
			}
			if resp.Header.Get("X-Request-Id") != req.Header.Get("X-Request-Id") {
				t.Error("response and request have different ids")
			}
		})
		i.close()
	}
}

func TestHeadersToClient(t *testing.T) {
	i := script(t, "HTTP/1.1 200 Fine\r\nServer: mine\r\nDate: then\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"+
		"Set-Cookie: a\r\nset-cookie: b\r\nProxy-Authenticate: x\r\nContent-Length: 2\r\n\r\nok")
	resp, body := newRig(t, []*testInstance{i}).exchange(get("/"))
	if resp.Status != "200 Fine" || body != "ok" || resp.Header.Get("Server") != "mine" || resp.Header.Get("Date") != "then" {
		t.Errorf("got %q, %q, %v", resp.Status, body, resp.Header)
	}
	if got := strings.Join(resp.Header["Set-Cookie"], ","); got != "a,b" {
		t.Errorf("cookies are %q", got)
	}
	for _, hop := range []string{"X-Hop", "Keep-Alive", "Connection", "Proxy-Authenticate"} {
		if resp.Header.Get(hop) != "" {
			t.Errorf("%s is passed on", hop)
		}
	}
}

func TestMetrics(t *testing.T) {
	r := newRig(t, []*testInstance{handlerInstance(t, func(w http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.URL.Path, "/gone") {
			panic(http.ErrAbortHandler)
		}
		echo(w, req)
	})})
	c := r.dial()
	c.send("POST /invoke/f/ HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" + get("/gone") +
		"GET /invoke/" + strings.Repeat("x", 20) + " HTTP/1.1\r\nHost: h\r\n\r\n")
	for range 3 {
		c.response("POST")
	}
	var page string
	for _, want := range []string{
		`unifaas_gateway_invocations_total{class="2xx",function="f",kind="ok"} 1`,
		`unifaas_gateway_invocations_total{class="5xx",function="f",kind="broken"} 1`,
		`unifaas_gateway_bytes_total{direction="in",function="f"} 3`,
		`unifaas_gateway_in_flight_requests{function="f"} 0`,
		`unifaas_gateway_request_duration_seconds_count{function="f"} 2`,
		`unifaas_gateway_retries_total{function="f"} 2`,
		`unifaas_gateway_connections 1`,
		`unifaas_gateway_rejected_requests_total{code="404"} 1`,
	} {
		// An exchange is counted when its client has the answer already.
		for start := time.Now(); time.Since(start) < patience && !strings.Contains(page, want+"\n"); {
			page = scrape(t, r)
		}
		if !strings.Contains(page, want+"\n") {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(page, "xxxxx") {
		t.Error("the name of a function that is not there is in the metrics")
	}
	r.g.Forget(faas.NewRef("f"))
	if page := scrape(t, r); strings.Contains(page, `function="f"`) {
		t.Error("a forgotten function is still in the metrics")
	}
}

func scrape(t *testing.T, r *rig) string {
	t.Helper()
	w := httptest.NewRecorder()
	metricsHandler(r.reg).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}
