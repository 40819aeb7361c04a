package main

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/guest/linux/wire"
)

// How often it is looked whether the function listens, in nanoseconds: the
// longer it has taken so far, the more rarely.
const (
	lookLeast = 1e6
	lookMost  = 5e6
)

// serve goes on until the function has ended and the host knows how. A host
// that is gone may come back: it is waited for as long as it takes.
func (m *machine) serve() {
	for !m.done() {
		m.wait()
	}
}

// done tells whether the host has taken note of the end.
func (m *machine) done() bool {
	late := m.giveUp != 0 && now() >= m.giveUp
	return m.exit != nil && m.output < 0 && (m.link.told || !m.instance.HasHost() || late)
}

// wait waits for one thing to happen and deals with it.
func (m *machine) wait() {
	l := &m.link
	events := int16(unix.POLLIN)
	if !l.up || len(l.out) > 0 {
		events |= unix.POLLOUT
	}
	output := -1
	// What can't be sent stays where it is: the function comes to wait.
	if l.up && len(l.out) == 0 || !m.instance.HasHost() {
		output = m.output
	}
	set := []unix.PollFd{
		{Fd: int32(l.fd), Events: events},
		{Fd: int32(output), Events: unix.POLLIN},
		{Fd: int32(m.reaped), Events: unix.POLLIN},
	}
	if _, err := unix.Ppoll(set, m.timeout(), nil); err != nil {
		return // EINTR
	}
	if set[2].Revents != 0 {
		m.ended()
	}
	if set[1].Revents != 0 {
		m.forward()
	}
	m.tend(set[0].Revents)
	if !m.ready && m.exit == nil && now() >= m.nextLook {
		m.look()
		m.nextLook = now() + min(max(lookLeast, (now()-m.started)/50), lookMost)
	}
}

// tend does what the connection needs.
func (m *machine) tend(events int16) {
	l := &m.link
	switch {
	case !m.instance.HasHost():
	case l.fd < 0:
		if now() >= l.next {
			l.dial(m)
		}
	case !l.up && events != 0:
		l.established(m)
	case !l.up && now() >= l.deadline:
		l.fail()
	default:
		if events&unix.POLLOUT != 0 {
			l.flush()
		}
		if l.up && events&^unix.POLLOUT != 0 {
			l.receive(m)
		}
	}
}

// timeout returns how long nothing needs to be done.
func (m *machine) timeout() *unix.Timespec {
	next := int64(-1)
	sooner := func(at int64) {
		if next < 0 || at < next {
			next = at
		}
	}
	if !m.ready && m.exit == nil {
		sooner(m.nextLook)
	}
	switch l := &m.link; {
	case !m.instance.HasHost():
	case l.fd < 0:
		sooner(l.next)
	case !l.up:
		sooner(l.deadline)
	}
	if m.giveUp != 0 {
		sooner(m.giveUp)
	}
	if next < 0 {
		return nil
	}
	t := unix.NsecToTimespec(max(next-now(), 0))
	return &t
}

// forward sends on some of what the function has written.
func (m *machine) forward() {
	n, err := unix.Read(m.output, m.buffer[:])
	if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
		return
	}
	if err == nil && n > 0 {
		if !m.instance.HasHost() {
			m.print(m.buffer[:n])
			return
		}
		m.link.out = wire.Append(m.link.out, wire.KindOutput, m.buffer[:n])
		m.link.flush()
		return
	}
	_ = unix.Close(m.output)
	m.output = -1
	if m.exit != nil {
		m.link.tell(wire.KindExit, m.exit)
	}
}
