package gateway

import (
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxLoops bounds the loops of a gateway: the more there are, the fewer kept
	// connections each finds.
	maxLoops = 8
	// batch is how many events a loop takes at a time, and maxBatches after how
	// many of them it lets goroutines run: while events never end it would keep
	// its processor until Go's scheduler takes that away, 10 ms.
	batch      = 64
	maxBatches = 16
)

// A loop waits for the sockets that it was given, by an epoll instance of its
// own, and goes on with those that are parked. What it does must be short: the
// exchange of a request for an answer that needs no waiting but for the two.
// Everything else goes to goroutines. See docs/RATIONALE.md for why.
type loop struct {
	g       *Gateway
	clients atomic.Int64 // connections of clients

	mu     sync.Mutex
	ep     int     // the epoll instance, -1 once it is closed
	wake   int     // an eventfd: the loop has to end
	socks  []*sock // by descriptor
	serial int32

	events [batch]unix.EpollEvent
	due    [batch]*sock // due[i] has events[i]
	busy   int          // batches since goroutines were let run
	yield  bool         // a goroutine was given something to do
}

func newLoop(g *Gateway) (*loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an event loop: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		err = unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: -1})
	}
	if err != nil {
		_ = unix.Close(wake) // or no descriptor
		_ = unix.Close(ep)
		return nil, fmt.Errorf("make an event loop: %w", err)
	}
	return &loop{g: g, ep: ep, wake: wake}, nil
}

// standardLoops is one for each of Go's processors. With one less, Go's sysmon
// need not take a processor away from a loop that waits, which is 5 % of what a
// request costs; but then the machine's processors are idle for a tenth of the
// time while the loop is what everybody waits for.
func standardLoops() int { return min(runtime.GOMAXPROCS(0), maxLoops) }

func (g *Gateway) makeLoops(n int) error {
	for range n {
		l, err := newLoop(g)
		if err != nil {
			g.closeLoops()
			return err
		}
		g.loops = append(g.loops, l)
	}
	return nil
}

func (g *Gateway) closeLoops() {
	for _, l := range g.loops {
		l.close()
	}
}

// idlest returns the loop with the fewest clients.
func (g *Gateway) idlest() *loop {
	best := g.loops[0]
	for _, l := range g.loops[1:] {
		if l.clients.Load() < best.clients.Load() {
			best = l
		}
	}
	return best
}

// stop ends run. Sockets that are left are served by nobody.
func (l *loop) stop() {
	one := binary.NativeEndian.AppendUint64(nil, 1)
	_, _ = unix.Write(l.wake, one)
}

// close gives the loop's descriptors back. It must not run any more.
func (l *loop) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = unix.Close(l.ep)
	_ = unix.Close(l.wake)
	l.ep = -1
}

const watched = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET

// add begins to wait for s. What it has to say already is told.
func (l *loop) add(s *sock) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ep < 0 {
		return net.ErrClosed
	}
	for len(l.socks) <= s.fd {
		l.socks = append(l.socks, nil)
	}
	l.serial++
	s.serial = l.serial
	event := unix.EpollEvent{Events: watched, Fd: int32(s.fd), Pad: s.serial}
	if err := unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, s.fd, &event); err != nil {
		return fmt.Errorf("wait for a connection: %w", err)
	}
	l.socks[s.fd] = s
	return nil
}

// arm has the loop tell of room for writing, too, also of what is there.
func (l *loop) arm(s *sock) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ep < 0 {
		return net.ErrClosed
	}
	event := unix.EpollEvent{Events: watched | unix.EPOLLOUT, Fd: int32(s.fd), Pad: s.serial}
	return unix.EpollCtl(l.ep, unix.EPOLL_CTL_MOD, s.fd, &event)
}

// remove forgets s, which is about to be closed: the kernel forgets it by that.
func (l *loop) remove(s *sock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.socks[s.fd] == s {
		l.socks[s.fd] = nil
	}
}

// run goes on until stop is called.
func (l *loop) run() {
	for {
		n := l.poll()
		if !l.resolve(n) {
			return
		}
		for i, s := range l.due[:n] {
			if s != nil {
				l.dispatch(s, l.events[i].Events)
			}
		}
		clear(l.due[:n])
		if l.busy++; l.yield || l.busy >= maxBatches {
			l.rest()
		}
	}
}

// rest lets goroutines run.
func (l *loop) rest() {
	l.busy, l.yield = 0, false
	runtime.Gosched()
}

// poll waits for events. It looks without telling Go's scheduler first, which
// takes the processor away from who tells. Before it waits it lets goroutines
// run that would have to wait for the processor to be taken away.
func (l *loop) poll() int {
	p := uintptr(unsafe.Pointer(&l.events[0]))
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.ep), p, batch, 0, 0, 0)
	if errno == 0 && n > 0 {
		return int(n)
	}
	l.rest()
	const forever = ^uintptr(0)
	n, _, errno = syscall.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.ep), p, batch, forever, 0, 0)
	if errno != 0 { // EINTR
		return 0
	}
	return int(n)
}

// resolve finds the sockets of n events. An event that was on its way when its
// socket was closed must not reach the next one with the same descriptor. It
// reports false when the loop has to end.
func (l *loop) resolve(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.events[:n] {
		e := &l.events[i]
		if e.Fd < 0 {
			return false
		}
		if s := l.socks[e.Fd]; s != nil && s.serial == e.Pad {
			l.due[i] = s
		}
	}
	return true
}

// dispatch has one socket's event seen to. A fault that this strikes is the
// task's alone: the other sockets' events have come, too.
func (l *loop) dispatch(s *sock, flags uint32) {
	var t task
	defer func() {
		if fault := recover(); fault != nil {
			l.struck(t, fault)
		}
	}()
	t, woken := s.event(flags)
	l.yield = l.yield || woken
	if t != nil {
		t.ready(l)
	}
}

func (l *loop) struck(t task, fault any) {
	defer l.g.contain("ending an exchange after a fault", nil)
	if t == nil {
		l.g.report(fault, "doing", "waiting for connections")
		return
	}
	t.struck(fault)
	l.yield = true
}
