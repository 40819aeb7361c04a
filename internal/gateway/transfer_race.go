//go:build race

package gateway

import "syscall"

// With the race detector these calls go through package syscall, which tells
// it about the buffer and that what was written happened before what is read.

func readOnce(fd uintptr, b []byte) (int, syscall.Errno) {
	return result(ignoringEINTR(syscall.Read, fd, b))
}

func writeOnce(fd uintptr, b []byte) (int, syscall.Errno) {
	return result(ignoringEINTR(syscall.Write, fd, b))
}

func ignoringEINTR(call func(int, []byte) (int, error), fd uintptr, b []byte) (int, error) {
	for {
		if n, err := call(int(fd), b); err != syscall.EINTR { //nolint:errorlint // it is never wrapped
			return n, err
		}
	}
}

func result(n int, err error) (int, syscall.Errno) {
	if errno, failed := err.(syscall.Errno); failed { //nolint:errorlint // it is never wrapped
		return 0, errno
	}
	return n, 0
}

// writeVecOnce writes the first of parts that is not empty.
func writeVecOnce(fd uintptr, parts [][]byte) (int, syscall.Errno) {
	for _, part := range parts {
		if len(part) > 0 {
			return writeOnce(fd, part)
		}
	}
	return 0, 0
}
