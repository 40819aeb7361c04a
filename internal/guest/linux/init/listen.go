package main

import (
	"bytes"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/guest/linux/wire"
)

// Whether the function listens is read from the kernel's lists of sockets
// (Linux, Documentation/networking/proc_net_tcp.rst) rather than found out by
// connecting: the function does not see it, and it tells on which address.

// openSockets opens the lists, which outlive the change of root.
func (m *machine) openSockets() {
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		// Without IPv6 there is but one.
		if fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
			m.sockets = append(m.sockets, fd)
		}
	}
}

// look looks whether the function listens.
func (m *machine) look() {
	var found, loopback bool
	for _, fd := range m.sockets {
		// Those that listen come first.
		n, err := unix.Pread(fd, m.buffer[:], 0)
		if err != nil {
			continue
		}
		any, local := listens(m.buffer[:n], m.plan.Port)
		// What comes by vsock is passed on by loopback.
		found, loopback = found || any || local && m.instance.Vsock, loopback || local
	}
	switch {
	case found:
		m.ready = true
		m.phase(wire.PhaseReady)
		m.link.tell(wire.KindReady, m.phases[len(m.phases)-1])
		for _, fd := range m.sockets {
			_ = unix.Close(fd)
		}
		m.sockets = nil
	case loopback && !m.loopback:
		m.loopback = true
		m.phase(wire.PhaseLoopback)
		m.link.tell(wire.KindPhase, m.phases[len(m.phases)-1])
	}
}

// stateListen is TCP_LISTEN of the kernel's include/net/tcp_states.h.
const stateListen = "0A"

// listens tells whether list has a socket that listens on the port: on an
// address that the host can reach, and on a loopback address.
func listens(list []byte, port int) (reachable, loopback bool) {
	suffix := strings.ToUpper(strconv.FormatInt(int64(port)|0x10000, 16))[1:]
	for line := range bytes.Lines(list) {
		// Number, local and remote address, state, ...
		fields := bytes.Fields(line)
		if len(fields) < 4 || string(fields[3]) != stateListen {
			continue
		}
		address, p, ok := strings.Cut(string(fields[1]), ":")
		if !ok || p != suffix {
			continue
		}
		if isLoopback(address) {
			loopback = true
		} else {
			reachable = true
		}
	}
	return reachable, loopback
}

// isLoopback looks at an address as the kernel prints it: words of four bytes
// in the processor's order.
func isLoopback(address string) bool {
	const one, mapped = "00000000000000000000000001000000", "0000000000000000FFFF0000"
	address = strings.TrimPrefix(address, mapped)
	return address == one || len(address) == 8 && strings.HasSuffix(address, "7F")
}
