package main

import (
	"fmt"
	"slices"

	"github.com/unifaas/unifaas/test/bench/measure"
)

// Peers, as rows call them.
const (
	bareFloor = "bare clone and exec"
	bareRunc  = "bare runc"
	bareRunsc = "bare runsc"
	dockerRun = "docker run (bridge)"
	bareQEMU  = "bare QEMU microvm"
	bareLinux = "bare QEMU, linux"
	bareNanos = "bare QEMU, nanos"
	bareOSv   = "bare QEMU, osv"
)

// A rival is a peer and what the ratio to it must keep to.
type rival struct {
	peer  string
	bound *measure.Bound
}

// A contest is one sandbox of ours and its peers.
type contest struct {
	sandbox string
	monitor string // of a virtual machine
	label   string // of its rows, beside what is measured
	cold    []rival
	burst   rival // without a peer: none
	rounds  int   // of bursts, for each of the scale's: short ones are noisy
	atOnce  int   // starts of a burst; 0 is the scale's
}

// ours is the platform's name among the contenders.
func (c contest) ours() string { return "ours" + c.about() }

// about tells the contest from others, for people.
func (c contest) about() string {
	if c.monitor == "" {
		return ", " + c.sandbox
	}
	return ", " + c.sandbox + " on " + c.monitor
}

// function is what takes part.
func (c contest) function() function {
	f := coldFunction(c.sandbox)
	if c.monitor != "" {
		f.keys = fmt.Sprintf("vm.vmm = %q\n", c.monitor)
	}
	return f
}

// linuxOnPC is what unikernels are compared with, on the monitor that boots all
// of them.
var linuxOnPC = contest{
	sandbox: "linux", monitor: "qemu", label: ", linux on QEMU",
	cold: []rival{{bareLinux, measure.AtMost(1.1)}},
}

// contests returns those of the named sandboxes, of all if there are no names.
func contests(sandboxes []string) []contest {
	all := []contest{
		{
			sandbox: "gvisor", rounds: 1,
			cold:  []rival{{bareRunsc, measure.AtMost(1.15)}, {dockerRun, measure.AtMost(0.6)}},
			burst: rival{bareRunsc, measure.AtMost(1.2)},
		},
		{
			sandbox: "container", label: ", container", rounds: 5,
			cold:  []rival{{bareFloor, measure.AtMost(2)}, {dockerRun, measure.AtMost(0.1)}},
			burst: rival{bareFloor, measure.AtMost(1.2)},
		},
		{
			sandbox: "runc", label: ", runc", rounds: 2,
			cold:  []rival{{bareRunc, measure.AtMost(1.15)}},
			burst: rival{bareRunc, measure.AtMost(1.2)},
		},
		{
			sandbox: "docker", label: ", docker", rounds: 1,
			cold:  []rival{{dockerRun, measure.AtMost(1.1)}},
			burst: rival{dockerRun, measure.AtMost(1.2)},
		},
		{
			sandbox: "linux", monitor: "qemu-microvm", label: ", linux on QEMU microvm", rounds: 1, atOnce: 20,
			cold:  []rival{{bareQEMU, measure.AtMost(1.1)}},
			burst: rival{bareQEMU, measure.AtMost(1.2)},
		},
		linuxOnPC,
		{
			sandbox: "nanos", monitor: "qemu", label: ", nanos on QEMU", rounds: 1, atOnce: 20,
			cold:  []rival{{bareNanos, measure.AtMost(1.15)}, {linuxOnPC.ours(), measure.AtMost(1)}},
			burst: rival{bareNanos, measure.AtMost(1.2)},
		},
		{
			sandbox: "osv", monitor: "qemu", label: ", osv on QEMU", rounds: 1, atOnce: 20,
			cold:  []rival{{bareOSv, measure.AtMost(1.15)}, {linuxOnPC.ours(), measure.AtMost(1)}},
			burst: rival{bareOSv, measure.AtMost(1.2)},
		},
	}
	return slices.DeleteFunc(all, func(c contest) bool {
		return len(sandboxes) > 0 && !slices.Contains(sandboxes, c.sandbox)
	})
}

func sandboxNames() []string {
	var names []string
	for _, c := range contests(nil) {
		names = append(names, c.sandbox)
	}
	return slices.Compact(names)
}
