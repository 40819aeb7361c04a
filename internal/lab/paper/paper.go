// Package paper has the figures that were published with "Are Unikernels Ready
// for Serverless on the Edge?" (README.md tells where they come from), as a run
// that others can be put beside.
package paper

import (
	"bytes"
	_ "embed" // for the figures
	"encoding/csv"
	"fmt"
	"strconv"

	"github.com/unifaas/unifaas/internal/lab/experiment"
	"github.com/unifaas/unifaas/internal/lab/record"
	"github.com/unifaas/unifaas/internal/sandbox"
)

//go:embed paper.csv
var figures []byte

// Name is that of the run.
const Name = "paper"

// Common is the sandbox to which ratios are taken where several would do: the
// one of the paper's that most machines have.
const Common = "docker-runc"

// renamed are experiments that have another name here.
var renamed = map[string]string{"idle-instructions": "idle-cpu"}

// Run returns the figures. Their samples are not known.
func Run() (*record.Run, error) {
	rows, err := csv.NewReader(bytes.NewReader(figures)).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read the paper's figures: %w", err)
	}
	run := &record.Run{Name: Name, Host: record.Host{Accelerator: "kvm", Isolation: isolation}}
	for _, row := range rows[1:] {
		s, err := summary(row)
		if err != nil {
			return nil, fmt.Errorf("read the paper's figures: %q: %w", row, err)
		}
		run.Summaries = append(run.Summaries, s)
	}
	return run, nil
}

// summary reads a row: experiment, sandbox, language, parameters, unit, n,
// minimum, quartiles, 95th percentile, maximum.
func summary(row []string) (record.Summary, error) {
	s := record.Summary{Key: record.Key{Experiment: row[0], Sandbox: row[1], Language: row[2], Parameters: row[3], Unit: row[4]}}
	if name, ok := renamed[s.Experiment]; ok {
		s.Experiment = name
	}
	var err error
	if s.N, err = strconv.Atoi(row[5]); err != nil {
		return s, err
	}
	for i, v := range []*float64{&s.Min, &s.P25, &s.P50, &s.P75, &s.P95, &s.Max} {
		if *v, err = strconv.ParseFloat(row[6+i], 64); err != nil {
			return s, err
		}
	}
	s.Low, s.High = s.P50, s.P50
	return s, nil
}

// isolation is that of the paper's sandboxes.
var isolation = map[string]sandbox.Isolation{
	"docker-runc": sandbox.SharedKernel, "docker-runsc": sandbox.UserSpaceKernel,
	"linux": sandbox.VirtualMachine, "nanos": sandbox.VirtualMachine, "osv": sandbox.VirtualMachine,
}

// Experiments are those that only the paper has, for their figures.
var Experiments = []experiment.Experiment{
	only("cold-start-runtime-only", "the OCI runtime alone, without Docker's daemon, until it has started the function", "Start by the OCI runtime alone", "time", true),
	only("boot", "from the start of the monitor's process to the ready callback, page cache cold (0) or warm (1)", "Boot of a virtual machine", "time", true),
	only("boot-vmm-setup", "from the start of the monitor's process to the first instruction of the guest", "Setting up a virtual machine", "time", false),
	only("boot-instructions", "instructions of the host's processor until the function is ready", "Instructions until ready", "instructions", true),
}

func only(name, about, title, axis string, log bool) experiment.Experiment {
	return experiment.Experiment{Name: name, About: about, Charts: []experiment.Chart{{Title: title, Axis: axis, Log: log}}}
}
