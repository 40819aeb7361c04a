package vm

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/host/ids"
	"github.com/unifaas/unifaas/internal/host/tapnet"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/vmm"
)

// networksAhead is how many networks are kept ready: making one takes a few
// milliseconds, and starts come in bursts.
const networksAhead = 4

// Machines are what the drivers of all guest systems share: the monitors, and
// the networks that are made ahead. Its methods may be called concurrently.
type Machines struct {
	host     sandbox.Host
	monitors []vmm.Monitor  // the best first
	users    *ids.Allocator // nil: this process may not use them

	mu       sync.Mutex
	checked  map[string]*checked // by the monitor's name
	networks *tapnet.Pool        // nil until the first machine is prepared
	closed   bool
}

// checked is what a monitor's probe has said, being found out by one caller at
// a time. Only a good answer is kept: what stood against it may pass.
type checked struct {
	turn chan struct{} // holds one token: whose turn it is
	caps vmm.Capabilities
}

// NewMachines returns what drivers share. It reads and changes nothing.
func NewMachines(host sandbox.Host, monitors []vmm.Monitor) *Machines {
	m := &Machines{host: host, monitors: monitors, users: ids.New(host.Node, ids.SingleSpace()), checked: map[string]*checked{}}
	for _, one := range monitors {
		m.checked[one.Name()] = &checked{turn: make(chan struct{}, 1)}
	}
	return m
}

// capabilities asks a monitor what it can do here.
func (m *Machines) capabilities(ctx context.Context, monitor vmm.Monitor) vmm.Capabilities {
	c := m.checked[monitor.Name()]
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return vmm.Capabilities{Reason: "it could not be tried: " + ctx.Err().Error()}
	}
	if !c.caps.Works {
		c.caps = monitor.Probe(ctx)
	}
	return c.caps
}

// named returns the monitor of that name, nil when there is none.
func (m *Machines) named(name string) vmm.Monitor {
	for _, monitor := range m.monitors {
		if monitor.Name() == name {
			return monitor
		}
	}
	return nil
}

// choose returns the monitor that a function asks for, or the best that works
// here and that suits its guest. On the processor is better than translated, and
// of equals the first.
func (m *Machines) choose(ctx context.Context, name string, system guest.System) (vmm.Monitor, vmm.Capabilities, error) {
	if name != "" {
		monitor := m.named(name)
		if monitor == nil {
			return nil, vmm.Capabilities{}, faas.Errorf(faas.KindInvalid, "there is no monitor %q", name)
		}
		caps := m.capabilities(ctx, monitor)
		if !caps.Works {
			return nil, caps, faas.Errorf(faas.KindUnavailable, "the monitor %q does not work here: %s", name, withRemedy(caps.Reason, caps.Remedy))
		}
		return monitor, caps, nil
	}
	var best vmm.Monitor
	var bestCaps vmm.Capabilities
	var reasons []string
	for _, monitor := range m.monitors {
		caps := m.capabilities(ctx, monitor)
		_, unfit := suits(system, monitor, caps)
		switch {
		case !caps.Works:
			reasons = append(reasons, monitor.Name()+": "+withRemedy(caps.Reason, caps.Remedy))
		case unfit != nil:
			reasons = append(reasons, unfit.Error())
		case best == nil || caps.Accelerator == vmm.KVM && bestCaps.Accelerator != vmm.KVM:
			best, bestCaps = monitor, caps
		}
	}
	if best == nil {
		return nil, bestCaps, faas.Errorf(faas.KindUnavailable, "no machine monitor works here: %s", strings.Join(reasons, "; "))
	}
	return best, bestCaps, nil
}

// suits tells why a guest system can't boot on a monitor's machines, and whether
// it was seen to.
func suits(system guest.System, monitor vmm.Monitor, caps vmm.Capabilities) (tested bool, err error) {
	chooser, ok := system.(guest.Chooser)
	if !ok || !caps.Works {
		return true, nil
	}
	c, err := guest.Choose(system.Name(), chooser.Combinations(), guest.On(monitor.Name(), caps))
	return c.Tested, err
}

func withRemedy(reason, remedy string) string {
	if remedy == "" {
		return reason
	}
	return reason + " (" + remedy + ")"
}

// network takes a network for a machine.
func (m *Machines) network(ctx context.Context) (*tapnet.Network, error) {
	pool, err := m.pool()
	if err != nil {
		return nil, err
	}
	return pool.Take(ctx)
}

// pool returns the networks that are made ahead, and begins to make them: a
// platform without machines pays nothing for them.
func (m *Machines) pool() (*tapnet.Pool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, faas.Errorf(faas.KindUnavailable, "the platform is stopping")
	}
	if m.networks == nil {
		m.networks = tapnet.NewPool(tapnet.DefaultPlan(), networksAhead)
	}
	return m.networks, nil
}

// Close lets go of the networks that are ready. It is idempotent.
func (m *Machines) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	if m.networks != nil {
		m.networks.Close()
	}
	return nil
}

// warn says why a machine of an earlier run is ended.
func (m *Machines) warn(instance string, err error) {
	if m.host.Logger != nil {
		m.host.Logger.Warn("machine can't be taken over and is ended", "instance", instance, "err", err)
	}
}

// parentName names the parent of all groups of one guest system's machines. It
// has the node's name so that two platforms on one host don't touch each
// other's, and the system's so that two drivers don't.
func parentName(host sandbox.Host, system string) string {
	return fmt.Sprintf("unifaas-%s-%s", host.Node, system)
}

// limitless refuses a start that would run without its limits.
func limitless(err error) error {
	return faas.Errorf(faas.KindUnavailable, "its limits can't be enforced: %w; %s", err, cgroup.Remedy(err))
}
