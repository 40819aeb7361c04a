// Package all lists the sandboxes that the platform is built with: one line
// per driver. It is the only place that knows them all.
package all

import (
	"cmp"

	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/assets"
	"github.com/unifaas/unifaas/internal/guest/linux"
	"github.com/unifaas/unifaas/internal/guest/nanos"
	"github.com/unifaas/unifaas/internal/guest/osv"
	"github.com/unifaas/unifaas/internal/guest/raw"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/container"
	"github.com/unifaas/unifaas/internal/sandbox/docker"
	"github.com/unifaas/unifaas/internal/sandbox/gvisor"
	"github.com/unifaas/unifaas/internal/sandbox/runc"
	"github.com/unifaas/unifaas/internal/sandbox/vm"
	monitors "github.com/unifaas/unifaas/internal/vmm/all"
)

// Settings are the operator's choices for each driver. The zero value is the
// default of all.
type Settings struct {
	GVisor    gvisor.Options
	Container container.Options
	Docker    docker.Options
	// Kernels is the folder of the kernels that Linux guests boot; "" is
	// linux.Kernels of the platform's state.
	Kernels string
	// Assets is the store of what unikernels need; "" is assets.Dir of the
	// platform's state. Nanos names a folder that is stronger, OSv a file.
	Assets string
	Nanos  string
	OSv    string
}

// finder returns what finds the files that one guest system needs.
func (s Settings) finder(kind assets.Kind, named, stateDir string) *assets.Finder {
	return assets.NewFinder(kind, named, assets.NewStore(cmp.Or(s.Assets, assets.Dir(stateDir))))
}

// Assets returns what finds the files of each guest system for which the
// operator supplies some.
func Assets(stateDir string, s Settings) []*assets.Finder {
	return []*assets.Finder{
		s.finder(nanos.Assets(), s.Nanos, stateDir),
		s.finder(osv.Assets(), s.OSv, stateDir),
	}
}

// Systems returns the guest systems whose machines boot what is made of a
// function here.
func Systems(stateDir string, s Settings) []guest.System {
	return []guest.System{
		linux.NewSystem(stateDir, s.Kernels),
		nanos.NewSystem(stateDir, s.finder(nanos.Assets(), s.Nanos, stateDir)),
		osv.NewSystem(stateDir, s.finder(osv.Assets(), s.OSv, stateDir)),
	}
}

// Drivers returns a driver of every sandbox on host h. What can't run here is
// among them; its Probe says so.
func Drivers(h sandbox.Host, s Settings) []sandbox.Driver {
	drivers := []sandbox.Driver{gvisor.New(h, s.GVisor), container.New(h, s.Container), runc.New(h), docker.New(h, s.Docker)}
	machines := vm.NewMachines(h, monitors.Monitors(h.StateDir))
	for _, system := range append(Systems(h.StateDir, s), raw.New(h.StateDir)) {
		drivers = append(drivers, vm.New(machines, system))
	}
	return drivers
}
