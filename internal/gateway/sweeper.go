package gateway

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	sweepEvery = 50 * time.Millisecond
	// maxStep bounds how far the sweeper's clock moves in one sweep. A process
	// that was stopped, starved or suspended finds its deadlines where they
	// were.
	maxStep = 4 * sweepEvery
	// idleEvery counts sweeps between two looks at idle upstream connections.
	idleEvery = 10
)

// A sweeper enforces all deadlines and finds clients that went away, so that
// requests need neither timers nor goroutines for that. It sleeps while there
// is no connection.
type sweeper struct {
	g       *Gateway
	last    time.Time
	fds     []unix.PollFd
	waiting []*conn // waiting[i] owns fds[i]
}

func (g *Gateway) wakeSweeper() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// sweep runs until the gateway has stopped.
func (g *Gateway) sweep() {
	s := &sweeper{g: g, last: time.Now()}
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for n := 0; ; n++ {
		if s.once(n) {
			select {
			case <-ticker.C:
			case <-g.wake:
			case <-g.base.Done():
				return
			}
			continue
		}
		ticker.Stop()
		select {
		case <-g.wake:
		case <-g.base.Done():
			return
		}
		s.last = time.Now()
		ticker.Reset(sweepEvery)
	}
}

// once is the nth sweep. It reports whether another is needed soon.
func (s *sweeper) once(n int) (busy bool) {
	defer s.g.contain("sweeping", func() { busy = true })
	s.advance()
	busy = s.connections()
	if n%idleEvery != 0 {
		return true
	}
	return s.g.sweepIdle() || busy
}

// advance moves the clock that deadlines go by.
func (s *sweeper) advance() {
	now := time.Now()
	step := min(now.Sub(s.last), maxStep)
	s.last = now
	s.g.tick.Add(int64(step))
}

// connections looks at every client connection once. It reports whether there
// is any.
func (s *sweeper) connections() bool {
	g := s.g
	now, draining, pressed := g.tick.Load(), g.draining.Load(), g.pressed.Swap(false)
	s.fds, s.waiting = s.fds[:0], s.waiting[:0]
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.conns {
		if s.check(c, now, draining, pressed) && c.fd >= 0 {
			s.fds = append(s.fds, unix.PollFd{Fd: int32(c.fd), Events: unix.POLLRDHUP})
			s.waiting = append(s.waiting, c)
		}
	}
	s.findGone()
	return len(g.conns) > 0
}

// check contains a fault that one connection causes: the others have deadlines
// too.
func (s *sweeper) check(c *conn, now int64, draining, pressed bool) bool {
	defer s.g.contain("looking at a connection", nil)
	return c.watch.check(now, draining, pressed)
}

// findGone asks the kernel, in one call, which waiting clients have closed.
// Data that they sent ahead does not hide that, as it would from a read.
func (s *sweeper) findGone() {
	if len(s.fds) == 0 {
		return
	}
	n, err := unix.Poll(s.fds, 0)
	if err != nil || n <= 0 {
		return // EINTR: the next sweep is near
	}
	for i, fd := range s.fds {
		if fd.Revents != 0 {
			c := s.waiting[i]
			hard := fd.Revents&(unix.POLLHUP|unix.POLLERR) != 0
			c.watch.closed(hard, c.unread)
		}
	}
}
