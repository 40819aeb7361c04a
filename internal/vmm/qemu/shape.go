package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/unifaas/unifaas/internal/vmm"
)

// shapeName is the file in a machine's folder, and in a snapshot's, that says
// what the machine is.
const shapeName = "machine.json"

// A shape is what a machine has to have in common with one whose state it is
// given.
type shape struct {
	Monitor     string          `json:"monitor"`
	Accelerator vmm.Accelerator `json:"accelerator"`
	Memory      int64           `json:"memory"` // bytes
	CPUs        int             `json:"cpus"`
	Disks       int             `json:"disks"`
	NICs        int             `json:"nics"`
	NoEntropy   bool            `json:"no_entropy,omitempty"`
}

func (m *Monitor) shapeOf(c *vmm.Config, a vmm.Accelerator) shape {
	return shape{
		Monitor: m.Name(), Accelerator: a, Memory: c.Memory, CPUs: c.CPUs,
		Disks: len(c.Disks), NICs: len(c.NICs), NoEntropy: c.NoEntropy,
	}
}

// fits tells what keeps a machine of shape s from having the state of one of
// shape other: QEMU would say it in terms of its device model.
func (s shape) fits(other shape) error {
	if s == other {
		return nil
	}
	return fmt.Errorf("the snapshot is of another machine: %s; this one would be: %s", other, s)
}

func (s shape) String() string {
	text := fmt.Sprintf("%s by %s, %d MiB, %d cpus, %d disks, %d interfaces",
		s.Monitor, s.Accelerator, s.Memory/mebibyte, s.CPUs, s.Disks, s.NICs)
	if s.NoEntropy {
		text += ", no entropy device"
	}
	return text
}

func writeJSON(path string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

// errNoJSON says that a file of ours is not as it was written.
var errNoJSON = errors.New("it is damaged")

func readJSON(path string, value any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, value); err != nil {
		return fmt.Errorf("read %s: %w: %w", path, errNoJSON, err)
	}
	return nil
}
