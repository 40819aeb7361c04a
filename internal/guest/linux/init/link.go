package main

import (
	"encoding/json"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/guest/linux/plan"
	"github.com/unifaas/unifaas/internal/guest/linux/wire"
)

const (
	// A connection that fails is tried again after the least of these times,
	// then after more, in nanoseconds.
	redialLeast = 100e6
	redialMost  = 1000e6
	// dialTime bounds one attempt.
	dialTime = 2000e6
)

// A link is the connection to the host.
type link struct {
	fd       int  // -1 without one
	up       bool // it is established
	port     int  // its own, the last one tried
	deadline int64
	wait     int64
	next     int64 // when it is dialled again
	out      []byte
	in       wire.Splitter
	last     bool // the function's end is said on this connection
	told     bool // and the host has ended it then
}

// dial begins to connect.
func (l *link) dial(m *machine) {
	if !m.instance.HasHost() {
		return
	}
	l.deadline = now() + dialTime
	connect := l.byTCP
	if m.instance.Vsock {
		connect = l.byVsock
	}
	if err := connect(m); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		l.fail()
	}
}

// byTCP connects to the gateway. The first process may use ports below 1024,
// which the function may not, so that the host knows whom it hears.
func (l *link) byTCP(m *machine) (err error) {
	if l.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return err
	}
	for _, o := range []struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		// A host that has come to be another one, after a copy of this
		// machine's memory was taken, says nothing by itself.
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 5},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 10000},
	} {
		_ = unix.SetsockoptInt(l.fd, o.level, o.name, o.value) // it works without, too
	}
	if l.port--; l.port < 1 {
		l.port = plan.FirstFree(m.plan.Port) - 1
	}
	if err := unix.Bind(l.fd, &unix.SockaddrInet4{Addr: m.instance.Address, Port: l.port}); err != nil {
		return err
	}
	return unix.Connect(l.fd, &unix.SockaddrInet4{Addr: m.instance.Gateway, Port: m.instance.Control})
}

// byVsock connects to the host, which can't tell the first process from the
// function by that. The function could say of itself what is not so, that it is
// ready or has ended, or keep its first process from being heard: to nobody's
// harm but its own.
func (l *link) byVsock(m *machine) (err error) {
	if l.fd, err = unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return err
	}
	return unix.Connect(l.fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_HOST, Port: uint32(m.instance.Control)})
}

// fail lets go of a connection and has it dialled again.
func (l *link) fail() {
	if l.fd >= 0 {
		_ = unix.Close(l.fd)
	}
	l.fd, l.up, l.last, l.out, l.in = -1, false, false, nil, wire.Splitter{}
	l.wait = min(max(l.wait*2, redialLeast), redialMost)
	l.next = now() + l.wait
}

// established says everything that the host does not know.
func (l *link) established(m *machine) {
	code, err := unix.GetsockoptInt(l.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil || code != 0 {
		l.fail()
		return
	}
	l.up, l.wait = true, 0
	hello := wire.Hello{Version: wire.Version, ID: m.instance.ID, Kernel: m.kernel, Phases: m.phases, Ready: m.ready}
	l.tell(wire.KindHello, hello)
	if m.exit != nil && m.output < 0 {
		l.tell(wire.KindExit, m.exit)
	}
}

// tell queues a frame where there is a connection. Without one the next
// [wire.Hello] tells it.
func (l *link) tell(kind wire.Kind, v any) {
	if l.up {
		l.last = l.last || kind == wire.KindExit
		l.out = wire.AppendJSON(l.out, kind, v)
		l.flush()
	}
}

// flush writes as much as the connection takes.
func (l *link) flush() {
	for len(l.out) > 0 {
		n, err := unix.Write(l.fd, l.out)
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			l.fail()
			return
		}
		l.out = l.out[n:]
	}
	l.out = nil
}

// receive reads what the host says.
func (l *link) receive(m *machine) {
	buffer := make([]byte, 4<<10)
	n, err := unix.Read(l.fd, buffer)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return
	case err != nil || n == 0:
		l.told = err == nil && l.last
		l.fail()
		return
	}
	l.in.Write(buffer[:n])
	for {
		kind, payload, ok, err := l.in.Next()
		if err != nil {
			l.fail()
			return
		}
		if !ok {
			return
		}
		m.obey(kind, payload)
	}
}

func (m *machine) obey(kind wire.Kind, payload []byte) {
	switch kind {
	case wire.KindSet:
		var set wire.Set
		if json.Unmarshal(payload, &set) == nil {
			m.apply(set)
		}
	case wire.KindStop:
		var stop wire.Stop
		if json.Unmarshal(payload, &stop) == nil && m.function > 0 {
			_ = unix.Kill(m.function, unix.Signal(stop.Signal))
		}
	default: // of a newer host
	}
}
