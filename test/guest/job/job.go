// Package job is the language between the host and the guest's init: jobs go
// in as a file, events come out on a serial port. It knows nothing of either
// end.
package job

import "time"

// Where the host puts what the init needs, in the guest.
const (
	// File holds a [Plan] in JSON.
	File = "/plan.json"
	// EventPort is the serial port for [Event], one JSON object a line.
	EventPort = "/dev/ttyS1"
)

// A Plan is what the guest is to do.
type Plan struct {
	// Modules are kernel modules to load first, by path.
	Modules []string
	// Disk is the device to mount on /tmp, an ext4 file system; "" leaves
	// /tmp in memory.
	Disk string
	Jobs []Job
}

// A Job is one program to run in the guest.
type Job struct {
	Name    string        // unique
	Args    []string      // program, as an absolute path, and its arguments
	Env     []string      // "NAME=value", all there is
	Dir     string        // working folder
	Modules []string      // kernel modules to load before, by path
	Drivers []string      // more of them, which refuse processors that are not theirs
	Timeout time.Duration // after which it is killed
	// User, if not 0, is the ordinary user that runs it, in a control group
	// below one that was delegated to that user as systemd's Delegate=yes does.
	User int
}

// Kinds of events.
const (
	// Hello comes first: the guest has booted. Text tells what it is.
	Hello = "hello"
	// Alive comes every few seconds ([AliveEvery]): a guest without is hung.
	Alive = "alive"
	// Begin comes before a job.
	Begin = "begin"
	// Output is one line of a job, without its end.
	Output = "output"
	// End comes after a job's last output.
	End = "end"
	// Done comes last: all jobs have been run.
	Done = "done"
	// Broken tells in Text why the init itself can't go on.
	Broken = "broken"
)

// AliveEvery is the time between signs of life.
const AliveEvery = 10 * time.Second

// An Event is something that the host is told.
type Event struct {
	Kind string
	Job  string `json:",omitempty"`
	Text string `json:",omitempty"`
	// Failure, of an End, says how the job failed; "" if it did not.
	Failure string        `json:",omitempty"`
	Took    time.Duration `json:",omitempty"` // of an End
}
