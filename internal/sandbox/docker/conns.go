package docker

import (
	"net"
	"slices"
	"sync"
	"weak"
)

// conns are the connections over a bridge to one instance. Where a container
// has a network stack of its own, nobody ends them with it: the other side is
// just not there any more, and who waits for an answer would wait in vain. It
// keeps no connection from being collected. Its methods may be called
// concurrently.
type conns struct {
	mu    sync.Mutex
	open  []weak.Pointer[net.TCPConn]
	limit int // of open, before those that are gone are taken out
	ended bool
}

const minConns = 16

// add takes note of c.
func (s *conns) add(c *net.TCPConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		shutdown(c)
		return
	}
	s.open = append(s.open, weak.Make(c))
	if len(s.open) > max(s.limit, minConns) {
		s.open = slices.DeleteFunc(s.open, func(p weak.Pointer[net.TCPConn]) bool { return p.Value() == nil })
		s.limit = 2 * len(s.open)
	}
}

// end ends all connections, and those that come after. What has arrived can
// still be read.
func (s *conns) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, p := range s.open {
		if c := p.Value(); c != nil {
			shutdown(c)
		}
	}
	s.open = nil
}

// shutdown leaves the descriptor to its owner. An error means that there is
// no connection any more.
func shutdown(c *net.TCPConn) {
	_ = c.CloseRead()
	_ = c.CloseWrite()
}
