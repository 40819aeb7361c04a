package guest

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// crash ends the process by a real fault. A signal that is merely sent does
// not do: the first process of a pid namespace is immune to its own, even to
// SIGKILL (pid_namespaces(7)), and Go's runtime turns a fault into an exit.
func crash() {
	// Zero is SIG_DFL; the kernel's struct sigaction has 32 bytes at most. The
	// flag says that the third of its fields is set, as every C library does:
	// some kernels that are not Linux insist.
	const restorer = 0x04000000
	defaultAction := [4]uint64{1: restorer}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGSEGV),
		uintptr(unsafe.Pointer(&defaultAction)), 0, 8, 0, 0)
	if errno != 0 {
		fmt.Fprintln(os.Stderr, "guest: sigaction:", errno)
		os.Exit(1)
	}
	forbidden, err := syscall.Mmap(-1, 0, os.Getpagesize(), syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest: mmap:", err)
		os.Exit(1)
	}
	forbidden[0] = 1
}
