package setup

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox/container/script"
)

// Layouts of the kernel's structs for recvmsg(2) and sendmsg(2) on machines of
// 64 bits.
const (
	controlHead = 16 // struct cmsghdr
	controlSize = controlHead + 8
)

// control is a control message with one descriptor.
func control(fd uint32) []byte {
	b := binary.NativeEndian.AppendUint64(nil, controlHead+4)
	b = binary.NativeEndian.AppendUint32(b, unix.SOL_SOCKET)
	b = binary.NativeEndian.AppendUint32(b, unix.SCM_RIGHTS)
	b = binary.NativeEndian.AppendUint32(b, fd)
	return binary.NativeEndian.AppendUint32(b, 0)
}

// message is a struct msghdr with one part and one control message.
func (w *writer) message(part, control script.Addr) script.Addr {
	return w.Words(0, 0, uint64(part), 1, uint64(control), controlSize, 0)
}

// awaitGate waits until the platform has put this process on record and its
// users in place.
func (w *writer) awaitGate() {
	w.Step("wait at the gate")
	w.Call(unix.SYS_SETSID) // the platform's terminal is not the function's
	part := w.Words(0, script.MaxID)
	rights := w.Bytes(control(0))
	wait := w.Here()
	w.Store(part, script.TitleAt(0)) // the name becomes part of the process's title
	w.CallTo(r0, unix.SYS_RECVMSG, script.Number(script.GateFD), w.message(part, rights).Arg(), script.Number(unix.MSG_CMSG_CLOEXEC))
	w.Catch(uint32(unix.EINTR), wait)
	gone, open := w.Label(), w.Label()
	w.JumpIf(script.Reg(r0), number(0), gone)
	w.Jump(open)
	w.Put(gone)
	w.Call(unix.SYS_EXIT_GROUP, number(1)) // the platform is
	w.Put(open)
	if !w.Root {
		return
	}
	w.CallTo(rRoot, unix.SYS_FCNTL, (rights + controlHead).Load(), script.Number(unix.F_DUPFD_CLOEXEC), number(0))
	w.Step("become root of the instance's users")
	w.Call(unix.SYS_SETGROUPS)
	w.Call(unix.SYS_SETRESGID)
	w.Call(unix.SYS_SETRESUID)
}
