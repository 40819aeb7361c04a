package callback

import (
	"net"
	"net/netip"
	"sync"
)

// A limited listener closes connections that are over the limits at once: one
// function must not keep others from calling.
type limited struct {
	net.Listener

	mu    sync.Mutex
	total int
	from  map[netip.Addr]int
}

func newLimited(l net.Listener) *limited {
	return &limited{Listener: l, from: map[netip.Addr]int{}}
}

// Accept returns the next connection that is within the limits.
func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		remote, err := netip.ParseAddrPort(conn.RemoteAddr().String())
		if err == nil && l.take(remote.Addr()) {
			return &counted{Conn: conn, release: sync.OnceFunc(func() { l.give(remote.Addr()) })}, nil
		}
		_ = conn.Close()
	}
}

func (l *limited) take(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= maxConns || l.from[from] >= maxFromOne {
		return false
	}
	l.total++
	l.from[from]++
	return true
}

func (l *limited) give(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.from[from]--; l.from[from] == 0 {
		delete(l.from, from)
	}
}

// A counted connection gives its place back when it is closed.
type counted struct {
	net.Conn
	release func()
}

// Close closes the connection.
func (c *counted) Close() error {
	c.release()
	return c.Conn.Close()
}
