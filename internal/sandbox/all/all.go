// Package all lists the sandboxes that the platform is built with: one line
// per driver. It is the only place that knows them all.
package all

import (
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/gvisor"
)

// Settings are the operator's choices for each driver. The zero value is the
// default of all.
type Settings struct {
	GVisor gvisor.Options
}

// Drivers returns a driver of every sandbox on host h. What can't run here is
// among them; its Probe says so.
func Drivers(h sandbox.Host, s Settings) []sandbox.Driver {
	return []sandbox.Driver{
		gvisor.New(h, s.GVisor),
	}
}
