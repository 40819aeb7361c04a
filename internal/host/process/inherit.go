package process

import (
	"math"

	"golang.org/x/sys/unix"
)

// ordinaryFiles is up to where descriptors are looked for on a kernel that can't
// do it for a range: no process has more unless somebody raised its limit.
const ordinaryFiles = 1024

// KeepInherited has no process that this one starts get the descriptors which
// this one was started with, from the number first on. A shell, a supervisor or
// a build tool may have left some open, and a sandbox must not have them. (Linux
// 5.11 does it at once, close_range(2).)
func KeepInherited(first int) {
	if unix.CloseRange(uint(first), math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	for fd := first; fd < ordinaryFiles; fd++ {
		unix.CloseOnExec(fd)
	}
}

// CloseInherited closes descriptors that this process was started with, from
// the number first on, which must be above all that it was meant to have and all
// that it has opened. (Linux 5.9 does it at once.)
func CloseInherited(first int) {
	if unix.CloseRange(uint(first), math.MaxUint32, 0) == nil {
		return
	}
	for fd := first; fd < ordinaryFiles; fd++ {
		_ = unix.Close(fd) // it need not be open
	}
}
