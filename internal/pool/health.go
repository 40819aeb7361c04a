package pool

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/unifaas/unifaas/internal/sandbox"
)

// healthTimeout bounds one health check, the dial included.
const healthTimeout = time.Second

func (p *Pool) checked() []*instance {
	return p.collect(func(i *instance) bool {
		return i.group.rev.Function.Health != "" && i.idle() && i.able()
	})
}

// check asks an idle instance whether it is well, and retires it if not. An
// instance that has been used meanwhile is left alone: a busy one may be slow
// to answer, and its requests tell more.
func (p *Pool) check(i *instance) {
	g := i.group
	g.mu.Lock()
	idle, used := i.idle(), i.lastUsed
	g.mu.Unlock()
	if !idle {
		return
	}
	err := probe(p.base, i.sandbox, g.rev.Function.Health)
	if err == nil || p.isStopping() {
		return
	}
	var fx effects
	g.mu.Lock()
	if i.idle() && i.lastUsed.Equal(used) {
		g.history.exited(time.Now(), i.sandbox.ID(), g.rev, "retired: "+err.Error())
		g.beginStop(i, &fx)
	}
	g.mu.Unlock()
	if len(fx.stop) > 0 {
		p.log.Warn("idle instance is not healthy; stopping it", "function", g.key.ref.String(), "instance", i.sandbox.ID(), "err", err)
	}
	p.apply(g, fx)
}

// probe sends one GET on a connection of its own; a status below 400 is well.
func probe(ctx context.Context, s sandbox.Instance, path string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, http.NoBody)
	if err != nil {
		return fmt.Errorf("make health check %q: %w", path, err)
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return s.Dial(ctx) },
	}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("health check %q: %w", path, err)
	}
	defer func() { _ = resp.Body.Close() }() // nothing of the body is wanted
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("health check %q: status %d", path, resp.StatusCode)
	}
	return nil
}
