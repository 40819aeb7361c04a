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

// The kernel gets to a socket sooner by recvfrom and sendto than by read and
// write, which come through the layer of files: about 3 % of a request.

func readOnce(fd uintptr, b []byte) (int, syscall.Errno) {
	return transfer(unix.SYS_RECVFROM, fd, b)
}

func writeOnce(fd uintptr, b []byte) (int, syscall.Errno) {
	return transfer(unix.SYS_SENDTO, fd, b)
}

// transferFlags keep a write to a closed connection from raising SIGPIPE.
const transferFlags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL

// transfer reads or writes once, n is 0 on error.
func transfer(call, fd uintptr, b []byte) (int, syscall.Errno) {
	for {
		var n uintptr
		var errno syscall.Errno
		p := unsafe.Pointer(unsafe.SliceData(b))
		if len(b) <= briefMax || call == unix.SYS_RECVFROM {
			n, _, errno = syscall.RawSyscall6(call, fd, uintptr(p), uintptr(len(b)), transferFlags, 0, 0)
		} else {
			n, _, errno = syscall.Syscall6(call, fd, uintptr(p), uintptr(len(b)), transferFlags, 0, 0)
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

// writeVecOnce writes parts as far as one call goes.
func writeVecOnce(fd uintptr, parts [][]byte) (int, syscall.Errno) {
	for {
		n, err := unix.SendmsgBuffers(int(fd), parts, nil, nil, transferFlags)
		switch errno, failed := err.(syscall.Errno); { //nolint:errorlint // it is never wrapped
		case !failed:
			return n, 0
		case errno != unix.EINTR:
			return 0, errno
		}
	}
}
