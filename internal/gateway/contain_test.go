package gateway

import (
	"strings"
	"testing"
)

// TestFaultOfOurOwn has a part behind the gateway panic under one request.
func TestFaultOfOurOwn(t *testing.T) {
	r := newRig(t, []*testInstance{handlerInstance(t, echo)})
	other := r.dial() // opened before, used after
	r.pool.set(func() error { panic("a fault") })
	c := r.dial()
	c.send(get("/"))
	c.ended()
	r.pool.set(nil)
	other.send(get("/"))
	if resp, body := other.response("GET"); resp.StatusCode != 200 || body != "GET / " {
		t.Errorf("another client got %d %q", resp.StatusCode, body)
	}
	metrics := scrape(t, r)
	for _, want := range []string{"unifaas_gateway_faults_total 1", `unifaas_gateway_in_flight_requests{function="f"} 0`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %q in the metrics:\n%s", want, metrics)
		}
	}
}
