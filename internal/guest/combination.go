package guest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/unifaas/unifaas/internal/vmm"
)

// A Combination is a way to boot a guest system on a kind of machine, or why
// there is none.
type Combination struct {
	Monitor     string
	Accelerator vmm.Accelerator
	Boot        vmm.Boot
	// Fault says why it can't work; "" when it can.
	Fault string
	// Tested says that functions were seen to answer there, or that the fault
	// was.
	Tested bool
}

// Choose returns how a system, by its name for people and the table of its
// combinations, is booted on a kind of machine: the first that fits. Its error
// says why it can't be, and on which machines it can.
func Choose(title string, table []Combination, on Machine) (Combination, error) {
	var able []string
	fault := ""
	for _, c := range table {
		here := c.Monitor == on.Monitor && c.Accelerator == on.Accelerator
		switch {
		case c.Fault == "" && here && slices.Contains(on.Boots, c.Boot):
			return c, nil
		case c.Fault == "":
			if name := fmt.Sprintf("vmm = %q with %s", c.Monitor, c.Accelerator); !here && !slices.Contains(able, name) {
				able = append(able, name)
			}
		case here:
			fault = c.Fault
		}
	}
	if fault == "" {
		fault = "nobody has seen " + title + " there"
	}
	return Combination{}, fmt.Errorf("%s can't run on the monitor %s with %s: %s; it can on %s",
		title, on.Monitor, on.Accelerator, fault, strings.Join(able, ", "))
}
