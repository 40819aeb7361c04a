package pool

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

const (
	// suspectAfter is how long a health check may take before its instance is
	// put aside. A check comes at most two of Options.HealthEvery after an
	// instance has become idle or was checked: by default what is wedged is
	// made up for within a second.
	suspectAfter = 300 * time.Millisecond
	// healthTimeout bounds one health check, the dial included. It is far
	// longer: on a machine under load an instance that is well may be late,
	// and to start another costs more than to wait.
	healthTimeout = 3 * time.Second
	// checkGap bounds how many checks begin: 500 a second.
	checkGap = 2 * time.Millisecond
)

func (p *Pool) checked() []*instance {
	return p.collect(func(i *instance) bool {
		return i.group.rev.Function.Health != "" && i.idle() && i.able() && !i.checking
	})
}

// check asks an idle instance whether it is well, beside everything else: one
// that is wedged holds up nobody's check. An instance that is used meanwhile is
// left alone: a busy one may be slow to answer, and its requests tell more.
func (p *Pool) check(i *instance) {
	g := i.group
	g.mu.Lock()
	idle, used := i.idle() && !i.checking, i.lastUsed
	i.checking = i.checking || idle
	g.mu.Unlock()
	if !idle {
		return
	}
	p.work.add()
	go func() {
		defer p.work.done()
		late := time.AfterFunc(suspectAfter, func() { p.suspect(i, used) })
		err := probe(p.life, i.sandbox, g.rev.Function.Health)
		late.Stop()
		p.examined(i, used, err)
	}()
}

// suspect puts i, which does not answer its check, aside: no request gets it
// and another takes its place, until it answers after all or is given up.
func (p *Pool) suspect(i *instance, used time.Time) {
	g := i.group
	var fx effects
	g.mu.Lock()
	if i.checking && i.idle() && i.lastUsed.Equal(used) {
		i.aside = true
		g.room.remove(i)
		g.lose(i, time.Now())
		fx.kick = true
	}
	g.mu.Unlock()
	p.apply(g, fx)
}

// examined ends a check: with err nil i is well.
func (p *Pool) examined(i *instance, used time.Time, err error) {
	g := i.group
	now := time.Now()
	var fx effects
	g.mu.Lock()
	i.checking = false
	switch {
	case i.stopping || p.isStopping():
	case err == nil && i.aside:
		g.bringBack(i, now)
	case err != nil && i.idle() && i.lastUsed.Equal(used):
		g.history.exited(now, i.sandbox.ID(), g.rev, "retired: "+err.Error())
		if !i.proved() {
			g.diedIdle(now, now.Sub(i.created), err)
		}
		g.lose(i, now)
		g.beginStop(i, &fx)
		g.strike(now, i.created, err.Error())
	}
	g.mu.Unlock()
	if len(fx.stop) > 0 {
		p.log.Warn("idle instance is not healthy; stopping it", "function", g.key.ref.String(), "instance", i.sandbox.ID(), "err", err)
	}
	p.apply(g, fx)
}

// bringBack lets an instance that was put aside serve again. What was started in
// its place, or is about to be, makes up for the next one: or an instance that is
// late with each answer would have one started each time.
func (g *group) bringBack(i *instance, now time.Time) {
	g.recover(now)
	i.aside = false
	if i.replaced {
		i.replaced = false
		if g.owed > 0 {
			g.owed--
		} else {
			g.spare++
		}
	}
	g.serve(i, false)
	g.shed()
	g.arm(now, i.idleSince.Add(g.rev.Function.Keepalive))
}

// probe makes a connection of its own and, where health is a path, sends one
// GET on it; a status below 400 is well.
func probe(ctx context.Context, s sandbox.Instance, health string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	if health == faas.HealthTCP {
		conn, err := s.Dial(ctx)
		if err != nil {
			return fmt.Errorf("health check: connect: %w", err)
		}
		_ = conn.Close() // nothing was sent
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+health, http.NoBody)
	if err != nil {
		return fmt.Errorf("make health check %q: %w", health, err)
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return s.Dial(ctx) },
	}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("health check %q: %w", health, err)
	}
	defer func() { _ = resp.Body.Close() }() // nothing of the body is wanted
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("health check %q: status %d", health, resp.StatusCode)
	}
	return nil
}
