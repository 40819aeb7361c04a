//go:build !race

package gateway

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// briefMax is up to which size a socket operation is short enough to be made
// without telling Go's scheduler. Telling costs more than such an operation
// itself on a busy machine: the scheduler may take the processor away and
// wake another thread for it. Sockets here never block, so neither do these
// calls.
const briefMax = 16 << 10

func readOnce(fd uintptr, b []byte) (int, syscall.Errno) {
	return transfer(unix.SYS_READ, fd, b)
}

func writeOnce(fd uintptr, b []byte) (int, syscall.Errno) {
	return transfer(unix.SYS_WRITE, fd, b)
}

// transfer reads or writes once, n is 0 on error.
func transfer(call, fd uintptr, b []byte) (int, syscall.Errno) {
	for {
		var n uintptr
		var errno syscall.Errno
		p := unsafe.Pointer(unsafe.SliceData(b))
		if len(b) <= briefMax || call == unix.SYS_READ {
			n, _, errno = syscall.RawSyscall(call, fd, uintptr(p), uintptr(len(b)))
		} else {
			n, _, errno = syscall.Syscall(call, fd, uintptr(p), uintptr(len(b)))
		}
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
