package gateway

import (
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
	acceptLogEvery = time.Second
)

// accept takes connections until the listener is closed. Running out of
// descriptors or memory is no reason to stop: it waits and tries again, and
// has idle connections closed meanwhile.
func (g *Gateway) accept() {
	a := acceptor{g: g, pause: acceptPauseMin}
	for a.once() {
	}
}

type acceptor struct {
	g      *Gateway
	pause  time.Duration // after the next failure
	logged time.Time     // when the last one was
}

// once takes one connection. It reports whether there may be others.
func (a *acceptor) once() (more bool) {
	g := a.g
	g.takeSlot()
	var nc link
	defer g.contain("accepting a connection", func() {
		if nc != nil {
			_ = nc.Close()
		}
		<-g.slots
		more = true
		a.rest()
	})
	nc, addr, err := a.take()
	if err == nil {
		a.pause = acceptPauseMin
		g.open(nc, addr)
		return true
	}
	<-g.slots
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	if exhausted(err) {
		g.pressed.Store(true)
	}
	if time.Since(a.logged) >= acceptLogEvery {
		a.logged = time.Now()
		g.opts.Logger.Error("cannot accept connections; raise the limit of open files if it stays", "err", err)
	}
	a.rest()
	return true
}

func (a *acceptor) rest() {
	select {
	case <-time.After(a.pause):
	case <-a.g.base.Done():
	}
	a.pause = min(2*a.pause, acceptPauseMax)
}

// takeSlot waits until another connection is allowed; those that come
// meanwhile wait in the kernel's backlog. When the gateway stops, connections
// end and Accept says so.
func (g *Gateway) takeSlot() {
	select {
	case g.slots <- struct{}{}:
		return
	default:
	}
	again := time.NewTicker(sweepEvery)
	defer again.Stop()
	for {
		g.pressed.Store(true) // until then each sweep closes idle connections
		select {
		case g.slots <- struct{}{}:
			return
		case <-again.C:
		}
	}
}

// open registers a connection and has it served.
func (g *Gateway) open(nc link, addr string) {
	c := newConn(g, nc, addr)
	g.mu.Lock()
	if g.draining.Load() {
		g.mu.Unlock()
		_ = nc.Close()
		<-g.slots
		return
	}
	c.slot = len(g.conns)
	g.conns = append(g.conns, c)
	first := len(g.conns) == 1
	g.mu.Unlock()
	if first {
		g.wakeSweeper()
	}
	g.metrics.connections.Inc()
	if c.sock != nil {
		c.sock.loop.clients.Add(1)
	}
	if !c.park() {
		go c.serve(stageHead)
	}
}

// forget takes c out before its descriptor is closed: the sweeper uses
// descriptors of registered connections only, with g.mu held.
func (g *Gateway) forget(c *conn) {
	g.mu.Lock()
	last := len(g.conns) - 1
	moved := g.conns[last]
	g.conns[c.slot], moved.slot = moved, c.slot
	g.conns[last] = nil
	g.conns = g.conns[:last]
	empty := last == 0 && g.draining.Load()
	g.mu.Unlock()
	_ = c.nc.Close()
	if c.sock != nil {
		c.sock.loop.clients.Add(-1)
	}
	g.metrics.connections.Dec()
	<-g.slots
	if empty {
		close(g.emptied)
	}
}

// exhausted reports whether err says that this process or host has run out
// of something, which is nobody's fault but ours.
func exhausted(err error) bool {
	for _, errno := range [...]syscall.Errno{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
