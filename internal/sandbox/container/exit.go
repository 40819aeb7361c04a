package container

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox"
)

// watch follows the instance to its end in the background. It holds one
// goroutine and no thread: the pidfd is polled like a socket.
func (i *instance) watch() {
	i.watched = true
	go func() {
		process, known := i.process.Wait()
		i.exit = i.describe(process, known)
		close(i.done)
	}()
}

// describe puts together what the first process has written of the function,
// what the kernel says of the first process, and what the cgroup says of its
// memory.
func (i *instance) describe(process unix.WaitStatus, known bool) sandbox.Exit {
	exit := sandbox.Exit{Code: -1, At: time.Now()}
	function, told := i.readStatus()
	switch {
	case told && function.Signaled():
		exit.Signal = int(function.Signal())
		exit.Reason = fmt.Sprintf("killed by signal %d (%v)", exit.Signal, function.Signal())
	case told:
		exit.Code = function.ExitStatus()
		exit.Reason = fmt.Sprintf("exit status %d", exit.Code)
	case known && process.Signaled():
		exit.Signal = int(process.Signal())
		exit.Reason = fmt.Sprintf("its container was killed by signal %d (%v)", exit.Signal, process.Signal())
	case known:
		exit.Code = process.ExitStatus()
		exit.Reason = fmt.Sprintf("its container broke with exit status %d", exit.Code)
	default:
		exit.Reason = "ended while the platform was away"
	}
	if i.group == nil || told && function.Exited() && exit.Code == 0 {
		return exit
	}
	if kills, err := i.group.OOMKills(); err == nil && kills > 0 {
		exit.OutOfMemory = true
		exit.Reason = fmt.Sprintf("out of memory: it used more than its limit of %d MiB; raise memory in function.toml", i.limits.Memory>>20)
	}
	return exit
}

// readStatus returns the function's wait status, which its container leaves
// also to a platform that is not its parent.
func (i *instance) readStatus() (status unix.WaitStatus, told bool) {
	if i.status == nil {
		return 0, false
	}
	var b [4]byte
	if n, _ := i.status.ReadAt(b[:], 0); n != len(b) {
		return 0, false
	}
	return unix.WaitStatus(binary.NativeEndian.Uint32(b[:])), true
}
