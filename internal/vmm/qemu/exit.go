package qemu

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/vmm"
)

// A shutdown is what the event SHUTDOWN says (QEMU, qapi/run-state.json).
type shutdown struct {
	Guest  bool   `json:"guest"`
	Reason string `json:"reason"` // a ShutdownCause
}

// parseShutdown reads the event's data. What is not understood is a shutdown
// for no known reason.
func parseShutdown(data json.RawMessage) *shutdown {
	var s shutdown
	_ = json.Unmarshal(data, &s)
	return &s
}

// An end is all that is known of how a monitor ended.
type end struct {
	status unix.WaitStatus
	known  bool // whether status is the monitor's
	told   *shutdown
	panic  bool   // the guest has said that its kernel panicked
	words  string // what the monitor has said
}

// exit puts an end in the contract's form. What the monitor has told counts
// first: its status is 0 also when the guest's kernel has panicked.
func (e end) exit() vmm.Exit {
	exit := vmm.Exit{Code: -1, At: time.Now()}
	switch {
	case e.known && e.status.Signaled():
		exit.Signal = int(e.status.Signal())
	case e.known:
		exit.Code = e.status.ExitStatus()
	}
	exit.Reason, exit.Reboot = e.reason(exit)
	return exit
}

func (e end) reason(exit vmm.Exit) (reason string, reboot bool) {
	last := lastLine(e.words)
	switch {
	case exit.Signal != 0 && last != "":
		return fmt.Sprintf("QEMU was killed by signal %d (%v): %s", exit.Signal, e.status.Signal(), last), false
	case exit.Signal != 0:
		return fmt.Sprintf("QEMU was killed by signal %d (%v)", exit.Signal, e.status.Signal()), false
	case e.panic:
		return "the guest's kernel panicked", true
	case e.told != nil:
		if reason, ok := causes[e.told.Reason]; ok {
			return reason, e.told.Guest
		}
		return fmt.Sprintf("QEMU ended the machine: %s", e.told.Reason), e.told.Guest
	case exit.Code > 0 && last != "":
		return fmt.Sprintf("QEMU ended with exit status %d: %s", exit.Code, last), false
	case e.known:
		return fmt.Sprintf("QEMU ended with exit status %d and did not say why", exit.Code), false
	}
	return "QEMU ended while the platform was away", false
}

// causes are the reasons of a shutdown in words.
var causes = map[string]string{
	"guest-shutdown":  "the guest powered off",
	"guest-reset":     "the guest restarted: it was told to, or its kernel panicked",
	"guest-panic":     "the guest's kernel panicked",
	"subsystem-reset": "the guest restarted",
	"host-qmp-quit":   "QEMU was told to quit",
	"host-signal":     "QEMU was asked to end by a signal",
	"host-error":      "QEMU broke on an error of the host",
}

// lastLine returns the last line of what QEMU has said, without its name.
func lastLine(words string) string {
	lines := strings.Split(strings.TrimSpace(words), "\n")
	line := strings.TrimSpace(lines[len(lines)-1])
	return strings.TrimPrefix(line, Program+": ")
}
