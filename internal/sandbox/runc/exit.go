package runc

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox"
)

// watch follows the function to its end in the background, with one goroutine
// and no thread.
func (i *instance) watch() {
	i.watched = true
	go func() {
		status, known := i.process.Wait()
		i.exit = i.describe(status, known)
		close(i.done)
	}()
}

// describe puts together what the kernel says of the process and what the
// control group says of its memory.
func (i *instance) describe(status unix.WaitStatus, known bool) sandbox.Exit {
	exit := sandbox.Exit{Code: -1, At: time.Now()}
	switch {
	case known && status.Signaled():
		exit.Signal = int(status.Signal())
		exit.Reason = fmt.Sprintf("killed by signal %d (%v)", exit.Signal, status.Signal())
	case known && status.Exited():
		exit.Code = status.ExitStatus()
		exit.Reason = fmt.Sprintf("exit status %d", exit.Code)
	default:
		exit.Reason = "ended; its exit status is unknown, for the platform was restarted meanwhile"
	}
	if kills, err := i.group.OOMKills(); err == nil && kills > 0 {
		exit.OutOfMemory = true
		exit.Reason = fmt.Sprintf("out of memory: it used more than its limit of %d MiB; raise memory in function.toml", i.memory>>20)
	}
	return exit
}
