package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func echo(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s", r.Method, r.RequestURI, b)
}

func TestRequestLineReachesFunctionUntouched(t *testing.T) {
	r := newRig(t, []*testInstance{handlerInstance(t, echo)})
	for _, tt := range []struct{ method, target, want string }{
		{"GET", "/invoke/f", "/"},
		{"GET", "/invoke/f?x", "/?x"},
		{"GET", "/invoke/f/", "/"},
		{"GET", "/invoke/f/a/b/../c//d", "/a/b/../c//d"},
		{"GET", "/invoke/f/%41%2f%2E?q=%zz&&=+%20", "/%41%2f%2E?q=%zz&&=+%20"},
		{"POST", "/invoke/f/p?a=b?c=d", "/p?a=b?c=d"},
		{"DELETE", "/invoke/f/x;y=1", "/x;y=1"},
		{"BREW", "/invoke/f/" + strings.Repeat("d/", 500), "/" + strings.Repeat("d/", 500)},
		{"OPTIONS", "/invoke/f/o", "/o"},
		{"GET", "http://h/invoke/f/abs?z", "/abs?z"},
	} {
		resp, body := r.exchange(tt.method + " " + tt.target + " HTTP/1.1\r\nHost: h\r\n\r\n")
		if want := tt.method + " " + tt.want + " "; resp.StatusCode != 200 || body != want {
			t.Errorf("%s %s: got %d %q, want %q", tt.method, tt.target, resp.StatusCode, body, want)
		}
	}
}

func TestBodies(t *testing.T) {
	r := newRig(t, []*testInstance{handlerInstance(t, echo)})
	c := r.dial()
	for _, size := range []int{0, 1, 100, 4000, 5000, 20000, 1 << 20} {
		data := strings.Repeat("x", size)
		c.send(fmt.Sprintf("POST /invoke/f/ HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", size, data))
		if resp, body := c.response("POST"); resp.StatusCode != 200 || body != "POST / "+data {
			t.Errorf("sized %d: got %d, %d bytes", size, resp.StatusCode, len(body))
		}
		c.send("POST /invoke/f/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
		if size > 0 {
			c.send(fmt.Sprintf("%x;a=b\r\n%s\r\n", size, data))
		}
		c.send("0\r\n\r\n")
		if resp, body := c.response("POST"); resp.StatusCode != 200 || body != "POST / "+data {
			t.Errorf("chunked %d: got %d, %d bytes", size, resp.StatusCode, len(body))
		}
	}
}
