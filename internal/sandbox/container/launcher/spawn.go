package main

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox/container/script"
)

// What a child runs is here. It is alone in its process, a copy of a thread of
// a program whose other threads are not there, and so must do nothing for
// which Go's runtime could be asked: no allocation, no growing of the stack
// (nosplit), no pointer written to memory (all are numbers), no panic. It never
// returns.

// What a child works with is not on the stack, which is small.
var (
	title     uintptr // of the process, behind its first word
	registers [script.Registers]uint64
	gate      uintptr = script.GateFD
	answer    [script.FailedSize]byte
	birth     cloneArgs
	zero      = [1]byte{'0'}
)

// cloneArgs is the kernel's struct clone_args, as long as a group needs it.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// spawn forks, and the child carries out the request. Its parent is this
// process's own.
//
//go:norace
//go:nosplit
func spawn(request *script.Request, files *handful) (pid uintptr, errno syscall.Errno) {
	flags := request.Flags | unix.CLONE_PARENT
	if request.Unified != 0 {
		// With CLONE_PARENT the signal at a child's end is this process's own.
		birth = cloneArgs{flags: flags | unix.CLONE_INTO_CGROUP, cgroup: uint64(files.fd[1])}
		pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&birth)), unsafe.Sizeof(birth), 0, 0, 0, 0)
	} else {
		pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(flags), 0, 0, 0, 0, 0)
	}
	if errno == 0 && pid == 0 {
		begin(request, files)
	}
	return pid, errno
}

// begin puts a child's files in their places and starts its script.
//
//go:norace
//go:nosplit
func begin(request *script.Request, files *handful) {
	next := 1 + int(request.Unified)
	tasks := next + int(request.Tasks)
	// The gate is where a failure is told.
	gate = uintptr(files.fd[(tasks+script.GateFD-1)%script.MaxFiles])
	memory, _, errno := syscall.RawSyscall6(unix.SYS_MMAP, script.Base, uintptr(request.Size), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_FIXED_NOREPLACE, uintptr(files.fd[0]), 0)
	if errno != 0 || memory != script.Base {
		fail(script.NoOp, uint32(errno))
	}
	for ; next < tasks; next++ {
		if _, _, errno := syscall.RawSyscall6(unix.SYS_WRITE, uintptr(files.fd[next%script.MaxFiles]), uintptr(unsafe.Pointer(&zero)), 1, 0, 0, 0); errno != 0 {
			fail(script.NoOp, uint32(errno))
		}
	}
	to := uintptr(script.OutputFD)
	for ; next < files.n; next++ {
		flags := uintptr(0)
		if to >= script.GateFD {
			flags = unix.O_CLOEXEC
		}
		if _, _, errno := syscall.RawSyscall6(unix.SYS_DUP3, uintptr(files.fd[next%script.MaxFiles]), to, flags, 0, 0, 0); errno != 0 {
			fail(script.NoOp, uint32(errno))
		}
		to++
	}
	gate = script.GateFD
	if _, _, errno := syscall.RawSyscall6(unix.SYS_CLOSE_RANGE, to, 1<<32-1, 0, 0, 0, 0); errno != 0 {
		fail(script.NoOp, uint32(errno))
	}
	carryOut(memory + uintptr(request.Start))
}

// carryOut carries out the operations at an address.
//
//go:norace
//go:nosplit
func carryOut(operations uintptr) {
	at := uint32(0)
	for {
		op := (*script.Op)(pointer(operations + uintptr(at)*script.OpSize))
		at++
		switch op.Do {
		case script.Call:
			result, _, errno := syscall.RawSyscall6(uintptr(op.Trap),
				number(op, 0), number(op, 1), number(op, 2), number(op, 3), number(op, 4), number(op, 5))
			switch {
			case errno == 0:
				registers[op.Result%script.Registers] = uint64(result)
			case op.Catch == uint32(errno), op.Catch == script.CatchAny:
				registers[op.Result%script.Registers] = uint64(errno)
				at = op.Target
			default:
				fail(at-1, uint32(errno))
			}
		case script.Equal:
			if number(op, 0) == number(op, 1) {
				at = op.Target
			}
		case script.Store:
			*(*uint64)(pointer(number(op, 0))) = uint64(number(op, 1))
		default:
			fail(at-1, uint32(number(op, 0)))
		}
	}
}

// number is what an argument stands for now.
//
//go:norace
//go:nosplit
func number(op *script.Op, i int) uintptr {
	n := uintptr(op.Args[i%6])
	switch op.Kinds[i%6] {
	case script.Register:
		return uintptr(registers[n%script.Registers])
	case script.Load:
		return uintptr(*(*uint32)(pointer(n)))
	case script.Title:
		return title + n
	default:
		return n
	}
}

// pointer makes a pointer of an address outside of Go's heap: what is there
// was mapped by hand, and the collector has no part in it.
//
//go:norace
//go:nosplit
func pointer(address uintptr) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Pointer(&address))
}

// fail tells the platform and ends the process.
//
//go:norace
//go:nosplit
func fail(op, errno uint32) {
	answer[0] = script.Failed
	*(*[4]byte)(answer[1:]) = *(*[4]byte)(unsafe.Pointer(&op))
	*(*[4]byte)(answer[5:]) = *(*[4]byte)(unsafe.Pointer(&errno))
	_, _, _ = syscall.RawSyscall6(unix.SYS_SENDTO, gate, uintptr(unsafe.Pointer(&answer)), uintptr(len(answer)), unix.MSG_NOSIGNAL, 0, 0)
	for {
		_, _, _ = syscall.RawSyscall6(unix.SYS_EXIT_GROUP, 1, 0, 0, 0, 0, 0)
	}
}
