package gateway

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestSmuggling sends what some recipients take for one request and others
// for two. The function must never see the second one, and never a body that
// is not the first one's.
func TestSmuggling(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	r := newRig(t, []*testInstance{handlerInstance(t, func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		seen = append(seen, req.URL.Path)
		mu.Unlock()
		_, _ = io.Copy(w, req.Body)
	})})
	const hidden = "GET /invoke/f/hidden HTTP/1.1\r\nHost: h\r\n\r\n"
	post := "POST /invoke/f/open HTTP/1.1\r\nHost: h\r\n"
	for name, raw := range map[string]string{
		"CL.TE":                    post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
		"TE.CL":                    post + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + hidden,
		"CL.CL":                    post + "Content-Length: 0\r\nContent-Length: 44\r\n\r\n" + hidden,
		"CL with a comma":          post + "Content-Length: 0, 44\r\n\r\n" + hidden,
		"CL with a sign":           post + "Content-Length: +0\r\n\r\n" + hidden,
		"TE hidden by space":       post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden,
		"TE folded":                post + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + hidden,
		"TE after bare LF":         post + "X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
		"TE after bare CR":         post + "X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
		"TE with a tab":            post + "Transfer-Encoding: chunked\v\r\n\r\n0\r\n\r\n" + hidden,
		"TE.TE":                    post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n" + hidden,
		"TE in 1.0":                strings.Replace(post, "1.1", "1.0", 1) + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
		"chunk size overflow":      post + "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n" + hidden,
		"chunk size with 0x":       post + "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + hidden,
		"chunk ended by LF":        post + "Transfer-Encoding: chunked\r\n\r\n0\n\n" + hidden,
		"chunk extension with LF":  post + "Transfer-Encoding: chunked\r\n\r\n0;a\nb\r\n\r\n" + hidden,
		"chunk longer than said":   post + "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n" + hidden,
		"trailer without its end":  post + "Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n" + hidden,
		"request as a trailer":     post + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + hidden,
		"target with a line break": "GET /invoke/f/open\r\nHost: h\r\n\r\n" + hidden,
		"Host twice":               post + "Host: i\r\n\r\n" + hidden,
	} {
		c := r.dial()
		c.send(raw)
		_ = c.CloseWrite()
		answer, err := io.ReadAll(c.r)
		if n := strings.Count(string(answer), "HTTP/1.1 "); err != nil || n > 1 || strings.HasPrefix(string(answer), "HTTP/1.1 2") {
			t.Errorf("%s: got %d responses, %v: %.60q", name, n, err, answer)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, path := range seen {
		if path != "/open" {
			t.Errorf("the function was asked for %s", path)
		}
	}
}
