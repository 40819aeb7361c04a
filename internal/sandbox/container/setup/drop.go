package setup

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox/container/script"
)

// settle sets what needs privileges and is no file.
func (w *writer) settle() {
	w.Step("set host name")
	w.Call(unix.SYS_SETHOSTNAME, w.String(w.Hostname).Arg(), script.Number(len(w.Hostname)))
	w.raiseLoopback()
	w.Step("leave the platform's keys")
	// A kernel without keys says ENOSYS, one whose user has too many EDQUOT;
	// then it keeps none either way.
	w.Call(unix.SYS_KEYCTL, script.Number(unix.KEYCTL_JOIN_SESSION_KEYRING))
	w.Ignore()
	for _, l := range w.Limits {
		w.Step("set resource limit " + decimal(int64(l.Resource)))
		w.Call(unix.SYS_PRLIMIT64, number(0), script.Number(l.Resource), w.Words(l.Soft, l.Hard).Arg())
	}
	w.Step("set umask")
	w.Call(unix.SYS_UMASK, number(0o022))
}

func (w *writer) raiseLoopback() {
	w.Step("raise loopback device")
	w.CallTo(r0, unix.SYS_SOCKET, script.Number(unix.AF_INET), script.Number(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC))
	request := append(make([]byte, 0, unix.IFNAMSIZ+24), "lo"...)
	request = binary.NativeEndian.AppendUint16(request[:unix.IFNAMSIZ], unix.IFF_UP)
	w.Call(unix.SYS_IOCTL, script.Reg(r0), script.Number(unix.SIOCSIFFLAGS), w.Bytes(request[:cap(request)]).Arg())
	w.Call(unix.SYS_CLOSE, script.Reg(r0))
}

// drop gives up every privilege: capabilities, user, groups, the power to gain
// any, and the system calls that the filter forbids.
func (w *writer) drop() {
	w.Step("empty the bounding set")
	for c := range w.LastCapability + 1 {
		w.Call(unix.SYS_PRCTL, script.Number(unix.PR_CAPBSET_DROP), script.Number(c))
	}
	gid, uid := script.Number(w.GID), script.Number(w.UID)
	w.Step("become group " + decimal(int64(w.GID)))
	w.Call(unix.SYS_SETRESGID, gid, gid, gid)
	w.Step("become user " + decimal(int64(w.UID)))
	w.Call(unix.SYS_SETRESUID, uid, uid, uid)

	w.Step("give up capabilities")
	w.Call(unix.SYS_PRCTL, script.Number(unix.PR_CAP_AMBIENT), script.Number(unix.PR_CAP_AMBIENT_CLEAR_ALL))
	version := w.Words(unix.LINUX_CAPABILITY_VERSION_3) // and process 0, this one
	w.Call(unix.SYS_CAPSET, version.Arg(), w.Bytes(make([]byte, 24)).Arg())

	// Seen by the function, this process must not be open to it.
	w.Step("hide the first process")
	w.Call(unix.SYS_PRCTL, script.Number(unix.PR_SET_DUMPABLE))
	// As the function's user. The root is the image's by now and no descriptor
	// leads out of it.
	w.Step("enter working folder " + w.Dir)
	w.Call(unix.SYS_CHDIR, w.String(w.Dir).Arg())
	w.Step("give up new privileges")
	w.Call(unix.SYS_PRCTL, script.Number(unix.PR_SET_NO_NEW_PRIVS), number(1))
	w.Step("install the system call filter")
	program := w.Words(uint64(len(w.Filter)/8), uint64(w.Bytes(w.Filter)))
	w.Call(unix.SYS_SECCOMP, script.Number(unix.SECCOMP_SET_MODE_FILTER), number(0), program.Arg())
}
