package record

import (
	"time"

	"github.com/unifaas/unifaas/internal/sandbox"
)

// A Host is what is known of the machine and the software of a run. What can't
// be found out is "" or 0.
type Host struct {
	// Target is the address of the platform that was measured, where that was
	// not on this machine or not the laboratory's own.
	Target      string    `json:"target,omitempty"`
	Hostname    string    `json:"hostname"`
	CPU         string    `json:"cpu"` // model
	Cores       int       `json:"cores"`
	Memory      int64     `json:"memory"` // bytes
	Kernel      string    `json:"kernel"`
	System      string    `json:"system"`      // distribution and version
	Accelerator string    `json:"accelerator"` // "KVM", or "none" and why
	Governor    string    `json:"governor"`    // of cpu0's frequency
	Cgroup      string    `json:"cgroup"`      // "v1", "v2", "hybrid"
	Platform    string    `json:"platform"`    // unifaas's version
	Began       time.Time `json:"began"`
	// LoadBefore is the load average of the minute before the run.
	LoadBefore float64 `json:"load_before"`
	// Sandboxes are those that could be measured, with what doctor says of each.
	Sandboxes map[string]string `json:"sandboxes"`
	// Isolation is what is between functions and the host's kernel in each
	// sandbox, where that is known.
	Isolation map[string]sandbox.Isolation `json:"isolation,omitempty"`
	// Emulated are the sandboxes whose guests no processor executes but a
	// program: their times can be compared with each other alone.
	Emulated []string `json:"emulated,omitempty"`
	// Digests are of the images of the functions that were measured.
	Digests map[string]string `json:"digests"`
}
