package main

import (
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
)

// A rival is a peer and what the ratio to it must keep to.
type rival struct {
	peer  string
	bound *measure.Bound
}

// A contest is one sandbox of ours and its peers.
type contest struct {
	sandbox string
	label   string // of its rows, beside what is measured
	cold    []rival
	burst   rival
	rounds  int // of bursts, for each of the scale's: short ones are noisy
	atOnce  int // starts of a burst; 0 is the scale's
	// keys are lines of function.toml beside the sandbox.
	keys string
}

// ours is the platform's name among the contenders.
func (c contest) ours() string { return "ours, " + c.sandbox }

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
			sandbox: "linux", label: ", linux on QEMU microvm", rounds: 1, atOnce: 20, keys: "vm.vmm = \"qemu-microvm\"\n",
			cold:  []rival{{bareQEMU, measure.AtMost(1.1)}},
			burst: rival{bareQEMU, measure.AtMost(1.2)},
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
	return names
}
