package vm

import (
	"context"
	"net"
	"sync"
	"weak"

	"golang.org/x/sys/unix"
)

// conns are the open connections to a guest. A guest that is dead does not say
// so, as a process would by its kernel: whoever waits for it is told from here.
// They are not held: what is closed and forgotten elsewhere is forgotten here.
type conns struct {
	mu   sync.Mutex
	all  []weak.Pointer[net.TCPConn]
	look int // when that many are listed, those that are gone are left out
	cut  bool
	// dials are under way: a guest that dies meanwhile does not refuse them.
	dials map[*context.CancelFunc]bool
}

// dial returns a context for one dial, which ends with the guest.
func (c *conns) dial(ctx context.Context) (dialing context.Context, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		cancel()
		return ctx, func() {}
	}
	if c.dials == nil {
		c.dials = map[*context.CancelFunc]bool{}
	}
	c.dials[&cancel] = true
	return ctx, func() {
		cancel()
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.dials, &cancel)
	}
}

// add takes a connection; false means that the guest is dead.
func (c *conns) add(conn *net.TCPConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return false
	}
	if len(c.all) >= max(c.look, 64) {
		live := c.all[:0]
		for _, p := range c.all {
			if p.Value() != nil {
				live = append(live, p)
			}
		}
		clear(c.all[len(live):])
		c.all, c.look = live, 2*len(live)
	}
	c.all = append(c.all, weak.Make(conn))
	return true
}

// sever ends all connections, for those who use them: a read finds the end.
func (c *conns) sever() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	for cancel := range c.dials {
		(*cancel)()
	}
	for _, p := range c.all {
		conn := p.Value()
		if conn == nil {
			continue
		}
		if raw, err := conn.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) }) // closed meanwhile: as good
		}
	}
	c.all = nil
}
