package tapnet

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A setting is a kernel parameter of the namespace (Linux,
// Documentation/networking/ip-sysctl.rst).
type setting struct{ path, value string }

// interfaceSettings are for each interface. A new namespace has the host's for
// version 4, whatever they are.
var interfaceSettings = []setting{
	{"ipv4/conf/%s/forwarding", "0"},
	{"ipv4/conf/%s/rp_filter", "1"}, // what comes from an address that is elsewhere is dropped
	{"ipv4/conf/%s/route_localnet", "0"},
	{"ipv4/conf/%s/accept_local", "0"},
	{"ipv4/conf/%s/accept_redirects", "0"},
	{"ipv4/conf/%s/accept_source_route", "0"},
	{"ipv4/conf/%s/send_redirects", "0"},
	{"ipv4/conf/%s/proxy_arp", "0"},
	{"ipv6/conf/%s/disable_ipv6", "1"},
	{"ipv6/conf/%s/addr_gen_mode", "1"}, // none: no link-local address even where it is enabled
}

// otherSettings are for all interfaces together.
var otherSettings = []setting{
	{"ipv4/ip_forward", "0"},
	// The end of a connection is told to a guest that is dead, too, and until
	// the kernel gives up, the namespace stays: with its usual number of
	// attempts for two minutes.
	{"ipv4/tcp_orphan_retries", "2"},
}

// setKernel sets the namespace's parameters, before there are interfaces to
// which the old ones would have been given.
func setKernel() error {
	for _, s := range interfaceSettings {
		for _, scope := range []string{"all", "default"} {
			if err := set(fmt.Sprintf(s.path, scope), s.value); err != nil {
				return err
			}
		}
	}
	for _, s := range otherSettings {
		if err := set(s.path, s.value); err != nil {
			return err
		}
	}
	return nil
}

// set writes a parameter of the thread's namespace. One that does not exist is
// of a protocol that the kernel does not speak.
func set(name, value string) error {
	f, err := os.OpenFile("/proc/sys/net/"+name, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// connect gives the interfaces of the thread's namespace their addresses and
// switches them on.
func connect(plan Plan) error {
	socket, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer socket.Close()
	lo, err := socket.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the loopback interface: %w", err)
	}
	if err := socket.LinkSetUp(lo); err != nil {
		return fmt.Errorf("switch the loopback interface on: %w", err)
	}
	tap, err := socket.LinkByName(plan.Tap)
	if err != nil {
		return fmt.Errorf("find tap %q: %w", plan.Tap, err)
	}
	if err := socket.LinkSetHardwareAddr(tap, plan.GatewayMAC); err != nil {
		return fmt.Errorf("set address %v of tap %q: %w", plan.GatewayMAC, plan.Tap, err)
	}
	address := &netlink.Addr{IPNet: &net.IPNet{
		IP: plan.Gateway.Addr().AsSlice(), Mask: net.CIDRMask(plan.Gateway.Bits(), 32),
	}}
	if err := socket.AddrAdd(tap, address); err != nil {
		return fmt.Errorf("set address %v of tap %q: %w", plan.Gateway, plan.Tap, err)
	}
	if err := socket.LinkSetUp(tap); err != nil {
		return fmt.Errorf("switch tap %q on: %w", plan.Tap, err)
	}
	// With that nobody has to ask who the guest is, which takes a second if it
	// is not up yet.
	neighbour := &netlink.Neigh{
		LinkIndex: tap.Attrs().Index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT,
		IP: plan.Guest.AsSlice(), HardwareAddr: plan.GuestMAC,
	}
	if err := socket.NeighAdd(neighbour); err != nil {
		return fmt.Errorf("set neighbour %v of tap %q: %w", plan.Guest, plan.Tap, err)
	}
	return nil
}
