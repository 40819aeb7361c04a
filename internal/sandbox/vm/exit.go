package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/linux/wire"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/vmm"
)

// lastWords is how long after a monitor's end what its guest has said before
// may still be on its way.
const lastWords = 100 * time.Millisecond

// watch follows the function to its end in the background.
func (i *instance) watch() {
	i.done = make(chan struct{})
	go func() {
		i.exit = i.awaitEnd()
		i.exit.At = time.Now()
		close(i.done)
		i.conns.sever()
	}()
}

// awaitEnd waits for the function's end, or its machine's, and tells how.
func (i *instance) awaitEnd() sandbox.Exit {
	if i.agent == nil {
		<-i.machine.Done()
		if e, ok := i.report(); ok {
			return i.ofFunction(e)
		}
		return i.ofMachine(i.machine.Wait())
	}
	select {
	case <-i.agent.Exited():
		return i.ofFunction(i.agent.Exit())
	case <-i.machine.Done():
	}
	select {
	case <-i.agent.Exited():
		return i.ofFunction(i.agent.Exit())
	case <-time.After(lastWords):
		i.console.tell(i.output)
		return i.ofMachine(i.machine.Wait())
	}
}

// report reads what a guest has left behind on its first disk.
func (i *instance) report() (e wire.Exit, ok bool) {
	reporter, ok := i.driver.system.(guest.Reporter)
	if !ok {
		return e, false
	}
	disk, err := os.Open(filepath.Join(i.driver.disks.dir, diskName(i.id, 0)))
	if err != nil {
		return e, false // it is being stopped
	}
	defer func() { _ = disk.Close() }()
	told, ok := reporter.Exit(disk)
	return wire.Exit{Code: told.Code, Signal: told.Signal, OutOfMemory: told.OutOfMemory, Reason: told.Reason}, ok
}

// ofFunction is the end of which the guest has told.
func (i *instance) ofFunction(e wire.Exit) sandbox.Exit {
	exit := sandbox.Exit{Code: e.Code, Signal: e.Signal, OutOfMemory: e.OutOfMemory, Reason: e.Reason}
	switch {
	case e.OutOfMemory:
		exit.Reason = i.overMemory()
	case e.Reason != "":
	case e.Signal != 0:
		exit.Reason = fmt.Sprintf("killed by signal %d (%v)", e.Signal, unix.Signal(e.Signal))
	default:
		exit.Reason = fmt.Sprintf("exit status %d", e.Code)
	}
	return exit
}

func (i *instance) overMemory() string {
	return fmt.Sprintf("out of memory: it used more than its guest's %d MiB; raise memory in function.toml", i.memory/mib)
}

// ofMachine is the end of a machine of whose function nothing was heard.
func (i *instance) ofMachine(e vmm.Exit) sandbox.Exit {
	exit := sandbox.Exit{Code: -1, Signal: e.Signal}
	kills := int64(0)
	if i.group != nil {
		kills, _ = i.group.OOMKills() // 0 where nobody can tell
	}
	switch {
	case kills > 0:
		exit.OutOfMemory = true
		exit.Reason = fmt.Sprintf("out of memory: its monitor used more than the %d MiB above its guest's that are allowed; raise memory in function.toml", overhead/mib)
	case e.Reboot && i.agent != nil:
		exit.Reason = "the guest's kernel ended without a word of the function: it panicked, most likely; its last lines are in the output"
	case e.Reboot: // whether well or not, nobody tells
		exit.Reason = "the guest has ended its machine"
	case e.Reason != "":
		exit.Reason = "the machine's monitor ended: " + e.Reason
	case e.Signal != 0:
		exit.Reason = fmt.Sprintf("the machine's monitor was killed by signal %d (%v)", e.Signal, unix.Signal(e.Signal))
	default:
		exit.Reason = fmt.Sprintf("the machine's monitor ended with exit status %d", e.Code)
	}
	return exit
}
