package firecracker

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/vmm"
)

// exitCodes are Firecracker's (FcExitCode in src/vmm/src/lib.rs). 1 and 2 say
// nothing.
var exitCodes = map[int]string{
	148: "it made a system call that its filter forbids",
	149: "it was ended by SIGBUS",
	150: "it was ended by SIGSEGV",
	151: "a file became larger than its limit (SIGXFSZ)",
	152: "its configuration is wrong",
	153: "its arguments are wrong",
	154: "it used more processor time than its limit (SIGXCPU)",
	155: "it was ended by SIGPIPE",
	156: "it was ended by SIGHUP",
	157: "it was ended by SIGILL",
}

// classify tells how a Firecracker ended, by its status and what it said.
//
// A guest that resets itself makes it exit with 0; a guest that powers off
// can't tell it, and halts. But 0 is also, in some versions, what follows an
// error of KVM, so that the log decides.
func classify(status unix.WaitStatus, known bool, said words) vmm.Exit {
	e := vmm.Exit{Code: -1, At: time.Now()}
	switch {
	case !known:
		e.Reason = reason("firecracker has ended, how is not known", said)
	case status.Signaled():
		e.Signal = int(status.Signal())
		e.Reason = fmt.Sprintf("firecracker was ended by signal %d (%v)", e.Signal, status.Signal())
	default:
		e.Code = status.ExitStatus()
	}
	switch {
	case said.failure != "":
		e.Reason = "firecracker could not go on running the guest: " + said.failure
	case e.Code >= 0 && said.shutdown:
		e.Reboot, e.Reason = true, "the guest's processor was reset by a triple fault"
	case e.Code == 0:
		e.Reboot, e.Reason = true, "the guest has reset its machine"
	case e.Code > 0:
		text := fmt.Sprintf("firecracker exited with status %d", e.Code)
		if meaning, ok := exitCodes[e.Code]; ok {
			text += ": " + meaning
		}
		e.Reason = reason(text, said)
	}
	return e
}

func reason(text string, said words) string {
	switch {
	case said.fault != "":
		return text + ": " + said.fault
	case said.last != "":
		return text + "; its last words: " + said.last
	}
	return text
}
