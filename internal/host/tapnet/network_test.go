package tapnet_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/host/leak"
	"github.com/unifaas/unifaas/internal/host/tapnet"
)

// ordinary is a user.
const ordinary = 0x7ffd1234

// openEnv makes this program one that opens the tap of that name with the
// device that it is given, and ends with the error's number.
const openEnv = "TAPNET_TEST_OPEN"

func TestMain(m *testing.M) {
	if name := os.Getenv(openEnv); name != "" {
		request, err := unix.NewIfreq(name)
		if err == nil {
			request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
			err = unix.IoctlIfreq(3, unix.TUNSETIFF, request)
		}
		var errno unix.Errno
		_ = errors.As(err, &errno)
		os.Exit(int(errno))
	}
	os.Exit(m.Run())
}

func needUsable(t testing.TB) {
	t.Helper()
	if err := tapnet.Usable(); err != nil {
		t.Skip(err)
	}
}

// watchLeaks fails the test if it leaves something.
func watchLeaks(t *testing.T) {
	t.Helper()
	before, err := leak.Snapshot(leak.Self())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if left, err := leak.Settle(ctx, before, leak.Self()); err != nil || len(left) > 0 {
			t.Errorf("left behind: %q, %v", left, err)
		}
	})
}

func newNetwork(t *testing.T) *tapnet.Network {
	t.Helper()
	needUsable(t)
	watchLeaks(t)
	n, err := tapnet.New(tapnet.DefaultPlan())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func TestUsableLeavesNothing(t *testing.T) {
	watchLeaks(t)
	needUsable(t)
}

// TestWhatIsInIt lists everything, before and while there is a guest.
func TestWhatIsInIt(t *testing.T) {
	n := newNetwork(t)
	want := []string{
		"address 127.0.0.1/8 of lo", "address 172.31.255.1/30 of tap0",
		"interface lo, up", "interface tap0, up, 06:55:46:00:00:01",
		"neighbour 172.31.255.2 06:55:46:00:00:02 permanent",
		"route 172.31.255.0/30",
	}
	check := func(when string) {
		t.Helper()
		var got []string
		if err := n.Do(func() (err error) { got, err = inventory(); return err }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	check("without a guest")
	newPeer(t, n)
	check("with a guest")
}

// inventory lists what is in the thread's namespace.
func inventory() ([]string, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, l := range links {
		a := l.Attrs()
		text := "interface " + a.Name
		if a.Flags&net.FlagUp != 0 {
			text += ", up"
		}
		if a.Flags&net.FlagLoopback == 0 {
			text += ", " + a.HardwareAddr.String()
		}
		all = append(all, text)
		addresses, err1 := h.AddrList(l, netlink.FAMILY_ALL)
		for _, a := range addresses {
			all = append(all, fmt.Sprintf("address %v of %s", a.IPNet, l.Attrs().Name))
		}
		neighbours, err2 := h.NeighList(a.Index, netlink.FAMILY_V4)
		for _, n := range neighbours {
			if n.State == netlink.NUD_PERMANENT {
				all = append(all, fmt.Sprintf("neighbour %v %v permanent", n.IP, n.HardwareAddr))
			}
		}
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
	}
	routes, err := h.RouteList(nil, netlink.FAMILY_ALL) // of the main table
	for _, r := range routes {
		all = append(all, fmt.Sprintf("route %v", r.Dst))
	}
	slices.Sort(all)
	return all, err
}

func TestKernelParameters(t *testing.T) {
	n := newNetwork(t)
	want := map[string]string{
		"ipv4/ip_forward": "0", "ipv4/conf/tap0/forwarding": "0", "ipv4/conf/tap0/rp_filter": "1",
		"ipv4/conf/tap0/route_localnet": "0", "ipv4/tcp_orphan_retries": "2",
		"ipv4/conf/all/route_localnet": "0", "ipv4/conf/tap0/accept_local": "0",
		"ipv6/conf/tap0/disable_ipv6": "1", "ipv6/conf/lo/disable_ipv6": "1", "ipv6/conf/tap0/addr_gen_mode": "1",
	}
	got := map[string]string{}
	err := n.Do(func() error {
		for name := range want {
			text, err := os.ReadFile(filepath.Join("/proc/sys/net", name))
			if err != nil && strings.HasPrefix(name, "ipv6") {
				got[name] = want[name] // the kernel does not speak it
				continue
			}
			if err != nil {
				return err
			}
			got[name] = strings.TrimSpace(string(text))
		}
		return nil
	})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestDial sees the very first frame of a connection, at once and without
// anybody being asked for an address, and answers it.
func TestDial(t *testing.T) {
	for _, c := range []struct {
		name string
		idle time.Duration // without a guest, before there is one
	}{{"at once", 0}, {"after the kernel has seen that there is none", 1500 * time.Millisecond}} {
		t.Run(c.name, func(t *testing.T) {
			n := newNetwork(t)
			time.Sleep(c.idle) // not for something to be ready: for time to have passed
			p := newPeer(t, n)
			for _, answer := range []byte{rst | ack, syn | ack} {
				begin := time.Now()
				result := make(chan error)
				go func() {
					conn, err := n.Dial(t.Context(), 8080)
					if err == nil {
						err = conn.Close()
					}
					result <- err
				}()
				s, ok := p.receive(500 * time.Millisecond)
				took := time.Since(begin)
				if want := netip.AddrPortFrom(n.Plan().Guest, 8080); !ok || s.flags != syn || s.to != want || s.from.Addr() != n.Plan().Gateway.Addr() {
					t.Fatalf("got %v %+v, want a SYN to %v", ok, s, want)
				}
				t.Logf("the first frame came after %v", took)
				p.send(segment{from: s.to, to: s.from, seq: 1000, ack: s.seq + 1, flags: answer})
				err := <-result
				if refused := answer&rst != 0; errors.Is(err, unix.ECONNREFUSED) != refused || !refused && err != nil {
					t.Errorf("answered with %#x: got %v", answer, err)
				}
			}
		})
	}
}

// awaitCarrier waits until the kernel has seen that the tap is open.
func awaitCarrier(t *testing.T, n *tapnet.Network) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for begin := time.Now(); time.Since(begin) < 5*time.Second; <-ticker.C {
		var state netlink.LinkOperState
		err := n.Do(func() error {
			h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
			if err != nil {
				return err
			}
			defer h.Close()
			tap, err := h.LinkByName(n.Plan().Tap)
			if err == nil {
				state = tap.Attrs().OperState
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if state == netlink.OperUp {
			return
		}
	}
	t.Fatal("the tap does not come up")
}

// shake connects from the guest's side and tells whether it was answered.
func shake(p *peer, from, to netip.AddrPort) bool {
	p.t.Helper()
	p.send(segment{from: from, to: to, seq: 7, flags: syn})
	s, ok := p.receive(300 * time.Millisecond)
	if !ok || s.flags != syn|ack {
		return false
	}
	p.send(segment{from: from, to: to, seq: 8, ack: s.seq + 1, flags: ack})
	return true
}

func TestListenShowsTheSourcePort(t *testing.T) {
	n := newNetwork(t)
	l, err := n.Listen(3000)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	gateway := netip.AddrPortFrom(n.Plan().Gateway.Addr(), 3000)
	if l.Addr().String() != gateway.String() {
		t.Errorf("it listens at %v, want %v", l.Addr(), gateway)
	}
	p := newPeer(t, n)
	from := netip.AddrPortFrom(n.Plan().Guest, 700)
	if !shake(p, from, gateway) {
		t.Fatal("the guest got no answer")
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.RemoteAddr().(*net.TCPAddr).AddrPort(); got != from {
		t.Errorf("accepted from %v, want %v", got, from)
	}
	if err := n.Do(func() error { return dialFrom(gateway) }); err != nil {
		t.Errorf("from inside: %v", err)
	}
}

// dialFrom connects from the thread's namespace.
func dialFrom(to netip.AddrPort) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
}

// TestGuestCanNotLie sends what says that it comes from elsewhere, or wants to
// go elsewhere.
func TestGuestCanNotLie(t *testing.T) {
	n := newNetwork(t)
	l, err := n.Listen(3000)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := newPeer(t, n)
	guest, gateway := n.Plan().Guest, n.Plan().Gateway.Addr()
	address := netip.MustParseAddr
	for _, c := range []struct{ from, to netip.Addr }{
		{address("127.0.0.1"), gateway}, {address("8.8.8.8"), gateway}, {gateway, gateway},
		{guest, address("127.0.0.1")}, {guest, address("8.8.8.8")},
	} {
		if shake(p, netip.AddrPortFrom(c.from, 700), netip.AddrPortFrom(c.to, 3000)) {
			t.Errorf("from %v to %v: it was answered", c.from, c.to)
		}
	}
	if !shake(p, netip.AddrPortFrom(guest, 701), netip.AddrPortFrom(gateway, 3000)) {
		t.Error("what is true was not answered")
	}
}

// TestNoWayOut tries what the host and other networks serve.
func TestNoWayOut(t *testing.T) {
	n, other := newNetwork(t), newNetwork(t)
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	theirs, err := other.Listen(3000)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	targets := map[netip.AddrPort]unix.Errno{
		netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port): unix.ECONNREFUSED,
		netip.AddrPortFrom(n.Plan().Gateway.Addr(), 3000):          unix.ECONNREFUSED, // its own
		netip.MustParseAddrPort("8.8.8.8:53"):                      unix.ENETUNREACH,
		netip.MustParseAddrPort("169.254.169.254:80"):              unix.ENETUNREACH,
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if a := netip.MustParsePrefix(a.String()).Addr(); a.Is4() && !a.IsLoopback() {
			targets[netip.AddrPortFrom(a, port)] = unix.ENETUNREACH
		}
	}
	for target, want := range targets {
		begin := time.Now()
		err := n.Do(func() error { return dialFrom(target) })
		if took := time.Since(begin); !errors.Is(err, want) || took > 500*time.Millisecond {
			t.Errorf("%v: got %v after %v, want %v at once", target, err, took, want)
		}
	}
}

// TestAnyUserInside has an ordinary user open the tap as a monitor does. The
// device is opened by root: whom the host lets open it is not at stake.
func TestAnyUserInside(t *testing.T) {
	n := newNetwork(t)
	for _, c := range []struct {
		name string
		tap  string
		want unix.Errno
	}{{"the tap", n.Plan().Tap, 0}, {"one that is not there", "tap1", unix.EPERM}} {
		var status error
		err := n.Do(func() error {
			device, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer device.Close()
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = []string{openEnv + "=" + c.tap}
			cmd.ExtraFiles = []*os.File{device}
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinary, Gid: ordinary}}
			status = cmd.Run()
			return nil
		})
		var exit *exec.ExitError
		code := 0
		if errors.As(status, &exit) {
			code = exit.ExitCode()
		} else if status != nil {
			err = errors.Join(err, status)
		}
		if err != nil || unix.Errno(code) != c.want {
			t.Errorf("%s: got %v, %v; want %v", c.name, unix.Errno(code), err, c.want)
		}
	}
}

// TestAfterACrash takes hold of a network by who is inside.
func TestAfterACrash(t *testing.T) {
	n := newNetwork(t)
	gone := watch(t, n)
	cmd := exec.Command("/bin/sleep", "1000")
	if err := n.Start(cmd); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	l, err := n.Listen(3000)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	n.Close()
	if gone(300 * time.Millisecond) {
		t.Fatal("the network is gone with a process in it")
	}
	again, err := tapnet.OfProcess(cmd.Process.Pid, n.Plan())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if l, err = again.Listen(3000); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := newPeer(t, again)
	if !shake(p, netip.AddrPortFrom(n.Plan().Guest, 700), netip.AddrPortFrom(n.Plan().Gateway.Addr(), 3000)) {
		t.Fatal("no answer")
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	l.Close()
	p.tap.Close() // so that the connection's end is never answered
	again.Close()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	ended := time.Now()
	defer func() { t.Logf("gone after %v", time.Since(ended)) }()
	if !gone(10 * time.Second) {
		t.Error("the network is still there")
	}
}

func TestNoProcess(t *testing.T) {
	if n, err := tapnet.OfProcess(1<<22+1, tapnet.DefaultPlan()); err == nil {
		n.Close()
		t.Error("a process that can't be has a network")
	}
}
