// Package tapnet makes the networks of virtual machines: for each a network
// namespace of its own in which there is a tap, on whose other side the machine
// is, and a loopback interface. There is no way out of it. So that machines
// reach neither each other nor the host nor its networks, no firewall is needed,
// and none can break it; and all of them can have the same addresses, which
// machines restored from one snapshot must.
//
// A namespace has no name: it lasts while this process has it open or the
// machine's monitor is in it. Networks can be made ahead of need ([Pool]).
//
// It must not know what runs a machine, nor what a machine is for.
package tapnet

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"

	"github.com/unifaas/unifaas/internal/host/netns"
)

// A Plan says what a network looks like.
type Plan struct {
	Tap        string           // name of the interface
	Gateway    netip.Prefix     // the tap's address, of version 4, and its network
	Guest      netip.Addr       // the guest's, in that network
	GatewayMAC net.HardwareAddr // the tap's
	GuestMAC   net.HardwareAddr
}

// DefaultPlan returns the one that serves all machines: 172.31.255.2 with the
// gateway 172.31.255.1, mask 255.255.255.252. The hardware addresses are locally
// administered ones.
func DefaultPlan() Plan {
	return Plan{
		Tap:        "tap0",
		Gateway:    netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 31, 255, 1}), 30),
		Guest:      netip.AddrFrom4([4]byte{172, 31, 255, 2}),
		GatewayMAC: net.HardwareAddr{0x06, 0x55, 0x46, 0x00, 0x00, 0x01},
		GuestMAC:   net.HardwareAddr{0x06, 0x55, 0x46, 0x00, 0x00, 0x02},
	}
}

// A Network is the network of one machine. Its methods may be called
// concurrently.
type Network struct {
	plan Plan
	ns   *netns.Handle
}

// New makes a network. It needs root. The tap has no owner: who is inside the
// network may open it, which is the machine's monitor, under whichever user.
// Giving it to one would take the kernel half a millisecond on the way of a
// request, for nothing.
func New(plan Plan) (*Network, error) {
	ns, err := netns.NewWith(func() error {
		if err := setKernel(); err != nil {
			return err
		}
		if err := makeTap(plan.Tap); err != nil {
			return err
		}
		return connect(plan)
	})
	if err != nil {
		return nil, explain(err)
	}
	return &Network{plan: plan, ns: ns}, nil
}

// OfProcess returns the network that a process, started by an earlier run of
// the platform, is in. The caller sees to it that pid is still that process
// after it has returned.
func OfProcess(pid int, plan Plan) (*Network, error) {
	ns, err := netns.OfProcess(pid)
	if err != nil {
		return nil, err
	}
	return &Network{plan: plan, ns: ns}, nil
}

// Plan returns what the network looks like.
func (n *Network) Plan() Plan { return n.plan }

// Start starts a command inside the network.
func (n *Network) Start(cmd *exec.Cmd) error { return n.ns.Start(cmd) }

// Do calls f on a thread that is inside the network: see [netns.Handle.Do].
func (n *Network) Do(f func() error) error { return n.ns.Do(f) }

// Here calls f inside the network on the calling thread: see
// [netns.Handle.Here].
func (n *Network) Here(f func() error) error { return n.ns.Here(f) }

// Open opens the other side of the tap, for a monitor that is given it rather
// than opening it by its name. Frames begin with a struct virtio_net_hdr of 10
// bytes (virtio 1.2, 5.1.6). While it is open nobody else can open it.
func (n *Network) Open() (tap *os.File, err error) {
	err = n.ns.Do(func() error {
		tap, err = openTap(n.plan.Tap)
		return err
	})
	return tap, err
}

// Dial connects to a TCP port of the guest. Before the guest's network is up,
// and in the first millisecond after a monitor has opened the tap, that takes a
// second, the kernel's first pause between attempts: learn that it is up by a
// connection of its own ([Network.Listen]), and dial then.
func (n *Network) Dial(ctx context.Context, port uint16) (net.Conn, error) {
	return n.ns.DialTo(ctx, netip.AddrPortFrom(n.plan.Guest, port))
}

// Listen listens on a TCP port of the gateway's address, for the guest and for
// who else is inside the network. A connection's RemoteAddr tells its source
// port. Listeners end with the platform: it makes them again after [OfProcess].
func (n *Network) Listen(port uint16) (net.Listener, error) {
	return n.ns.Listen(netip.AddrPortFrom(n.plan.Gateway.Addr(), port))
}

// Close lets go of the network, which is gone when nobody else is in it: no
// process, listener or connection. One that was closed, and whose guest has died
// without an answer to that, counts for another three seconds. It is idempotent.
func (n *Network) Close() { n.ns.Close() }
