package setup

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox/container/script"
)

// stay is what the instance's first process does from now on: it waits for
// every orphan, and ends, and all others with it, when the function does. All
// signals are blocked, so that the function, whose user is the same, may send
// what it likes.
func (w *writer) stay() {
	status := w.Words(0)
	ended := w.Label()
	for _, fd := range []int{0, 1, 2} {
		// The function's output ends with the function.
		w.Step("let go of the output")
		w.Call(unix.SYS_CLOSE, script.Number(fd))
	}
	if w.Serve {
		w.serve(status, ended)
	} else {
		w.Step("wait for the function")
		again := w.Here()
		w.CallTo(r0, unix.SYS_WAIT4, number(^uint64(0)), status.Arg())
		w.Catch(uint32(unix.EINTR), again)
		w.JumpIf(script.Reg(r0), script.Reg(rFunction), ended)
		w.Jump(again)
	}
	w.Put(ended)
	w.Step("tell how the function ended")
	w.Call(unix.SYS_WRITE, script.Number(script.StatusFD), status.Arg(), number(4))
	w.Call(unix.SYS_EXIT_GROUP)
}

// serve hands out sockets of this network namespace meanwhile. The listener is
// in a folder of the platform's, out of the function's reach.
func (w *writer) serve(status script.Addr, ended script.Label) {
	w.Step("watch for ends")
	w.Call(unix.SYS_FCNTL, script.Number(script.DialFD), script.Number(unix.F_SETFL), script.Number(unix.O_NONBLOCK))
	children := w.Words(1 << (unix.SIGCHLD - 1))
	w.CallTo(rSignals, unix.SYS_SIGNALFD4, number(^uint64(0)), children.Arg(), number(8), script.Number(unix.SFD_CLOEXEC|unix.SFD_NONBLOCK))
	info := w.Bytes(make([]byte, unsafe.Sizeof(unix.SignalfdSiginfo{})))
	const in = unix.POLLIN << 32
	polled := w.Words(script.DialFD|in, 0, 0)
	socket := w.Bytes(control(0))
	one := w.Words(1)
	reply := w.message(w.Words(uint64(one), 1), socket)

	// Two pollfds of 8 bytes; the second's descriptor is known only now.
	w.Store(polled+8, script.Reg(rSignals))
	w.Store(polled+12, number(unix.POLLIN))
	wait := w.Here()
	w.Step("wait")
	w.Call(unix.SYS_PPOLL, polled.Arg(), number(2))
	w.Ignore()
	w.Call(unix.SYS_READ, script.Reg(rSignals), info.Arg(), script.Number(unsafe.Sizeof(unix.SignalfdSiginfo{})))
	w.Ignore()

	w.Step("wait for the function")
	reap, dials := w.Here(), w.Label()
	w.CallTo(r0, unix.SYS_WAIT4, number(^uint64(0)), status.Arg(), script.Number(unix.WNOHANG))
	w.JumpIf(script.Reg(r0), script.Reg(rFunction), ended)
	w.JumpIf(script.Reg(r0), number(0), dials)
	w.Jump(reap)

	w.Put(dials)
	w.Step("hand out a socket")
	refuse := w.Label()
	w.CallTo(r1, unix.SYS_ACCEPT4, script.Number(script.DialFD), number(0), number(0), script.Number(unix.SOCK_CLOEXEC))
	w.Catch(script.CatchAny, wait)
	w.CallTo(r2, unix.SYS_SOCKET, script.Number(unix.AF_INET), script.Number(unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK), number(0))
	w.Catch(script.CatchAny, refuse)
	w.Store(socket+controlHead, script.Reg(r2))
	w.Call(unix.SYS_SENDMSG, script.Reg(r1), reply.Arg(), script.Number(unix.MSG_NOSIGNAL))
	w.Ignore()
	w.Call(unix.SYS_CLOSE, script.Reg(r2))
	w.Put(refuse)
	w.Call(unix.SYS_CLOSE, script.Reg(r1))
	w.Jump(dials)
}
