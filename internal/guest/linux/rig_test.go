package linux_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/guest/linux"
	"github.com/unifaas/unifaas/internal/guest/linux/control"
	"github.com/unifaas/unifaas/internal/guest/linux/kernel"
	"github.com/unifaas/unifaas/internal/guest/linux/plan"
	"github.com/unifaas/unifaas/internal/guest/linux/wire"
)

// A link is a network namespace with a tap for one guest.
type link struct {
	ns netns.NsHandle
}

const (
	hostIP   = "10.88.0.1"
	guestIP  = "10.88.0.2"
	hostMAC  = "02:00:00:00:00:01"
	guestMAC = "02:00:00:00:00:02"
)

func newLink(t testing.TB) *link {
	t.Helper()
	l := &link{}
	errs := make(chan error, 1)
	go func() { // its thread, which is in the namespace, ends with it
		runtime.LockOSThread()
		errs <- l.make()
	}()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.ns.Close() })
	return l
}

func (l *link) make() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	var err error
	if l.ns, err = netns.Get(); err != nil {
		return err
	}
	mac, _ := net.ParseMAC(hostMAC)
	tap := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tap0", HardwareAddr: mac}, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_DEFAULTS}
	if err := netlink.LinkAdd(tap); err != nil {
		return fmt.Errorf("add tap: %w", err)
	}
	if err := netlink.LinkSetHardwareAddr(tap, mac); err != nil {
		return err
	}
	for _, fd := range tap.Fds {
		_ = fd.Close()
	}
	address, _ := netlink.ParseAddr(hostIP + "/30")
	if err := netlink.AddrAdd(tap, address); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(tap); err != nil {
		return err
	}
	theirs, _ := net.ParseMAC(guestMAC)
	return netlink.NeighAdd(&netlink.Neigh{
		LinkIndex: tap.Index, State: netlink.NUD_PERMANENT, IP: net.ParseIP(guestIP), HardwareAddr: theirs,
	})
}

// do calls f in the namespace.
func (l *link) do(f func() error) error {
	errs := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(l.ns); err != nil {
			errs <- err
			return
		}
		errs <- f()
	}()
	return <-errs
}

func (l *link) dial(ctx context.Context, _, address string) (conn net.Conn, err error) {
	err = l.do(func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", address)
		return err
	})
	return conn, err
}

// A kind of machine.
type kind struct {
	name    string
	args    []string
	nic     string
	disk    string
	drivers []kernel.Driver
	noPCI   bool
}

var kinds = []kind{
	{
		name: "microvm", args: []string{"-M", "microvm,acpi=on,pit=off,pic=off,rtc=on,isa-serial=on"},
		nic: "virtio-net-device", disk: "virtio-blk-device", drivers: []kernel.Driver{kernel.DriverMMIO, kernel.DriverNet}, noPCI: true,
	},
	{name: "q35", args: []string{"-M", "q35"}, nic: "virtio-net-pci", disk: "virtio-blk-pci", drivers: []kernel.Driver{kernel.DriverPCI, kernel.DriverNet}},
}

// A guest is a machine that runs.
type guest struct {
	*control.Guest
	link    *link
	console string
	output  string
	started time.Time
	pid     int
	ended   chan struct{}
	mu      sync.Mutex
	phases  []string
	client  *http.Client
}

// boot describes a start.
type boot struct {
	kind           kind
	kernel, initrd string
	disk           string
	memory         int
	port           int
	debug          bool
	mute           bool // without a console
	extra          []string
}

func start(t testing.TB, b boot) *guest {
	t.Helper()
	g := &guest{link: newLink(t), ended: make(chan struct{})}
	dir := t.TempDir()
	g.console, g.output = filepath.Join(dir, "console"), filepath.Join(dir, "output")
	out, err := os.Create(g.output)
	if err != nil {
		t.Fatal(err)
	}
	var ln net.Listener
	err = g.link.do(func() error { ln, err = net.Listen("tcp", hostIP+":7000"); return err })
	if err != nil {
		t.Fatal(err)
	}
	g.Guest = control.Listen(ln, control.Options{
		ID: "t-1", Address: net.ParseIP(guestIP), BelowPort: plan.FirstFree(b.port), Output: out,
		Set: func() wire.Set { return wire.Set{Time: time.Now().UnixNano(), Seed: []byte("from the host")} },
		Phase: func(p wire.Phase) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.phases = append(g.phases, fmt.Sprintf("%s %.1f (%.0f)", p.Name, float64(p.NS)/1e6, float64(time.Since(g.started).Microseconds())/1e3))
		},
	})
	cmd := qemu(b, g.console)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	g.mu.Lock()
	g.started = time.Now()
	g.mu.Unlock()
	if err := g.link.do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	g.pid = cmd.Process.Pid
	go func() {
		_ = cmd.Wait()
		close(g.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-g.ended
		_ = g.Close()
		_ = out.Close()
		if t.Failed() {
			console, _ := os.ReadFile(g.console)
			t.Logf("qemu: %s\nconsole: %s\noutput: %s\nphases: %q\nfailure: %v", &said, console[max(0, len(console)-4000):], g.said(t), g.told(), g.Failure())
		}
	})
	// A connection that is used again makes the client repeat a request that
	// broke it, and dial a machine that is going: nobody refuses that.
	g.client = &http.Client{Transport: &http.Transport{DialContext: g.link.dial, DisableKeepAlives: true}}
	return g
}

func qemu(b boot, console string) *exec.Cmd {
	host, _ := plan.ParseMAC(hostMAC)
	off := plan.OffPower
	gateway, _ := plan.ParseIPv4(hostIP)
	address, _ := plan.ParseIPv4(guestIP)
	m := linux.Machine{
		Instance: plan.Instance{ID: "t-1", Address: address, Prefix: 30, Gateway: gateway, GatewayMAC: host, Control: 7000, Off: off},
		Console:  !b.mute, Debug: b.debug, NoPCI: b.kind.noPCI, TSCKHz: hostKHz(), Extra: b.extra,
	}
	args := append([]string{}, b.kind.args...)
	args = append(args,
		"-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", strconv.Itoa(b.memory), "-nodefaults", "-no-user-config", "-display", "none",
		"-no-reboot", "-serial", "file:"+console, "-kernel", b.kernel, "-initrd", b.initrd, "-append", linux.Cmdline(m),
		"-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no", "-device", b.kind.nic+",netdev=n0,mac="+guestMAC)
	if b.disk != "" {
		args = append(args, "-drive", "if=none,id=d0,format=raw,readonly=on,file="+b.disk, "-device", b.kind.disk+",drive=d0")
	}
	return exec.Command("qemu-system-x86_64", args...)
}

func hostKHz() int {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "cpu MHz" {
			mhz, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return int(mhz * 1000)
		}
	}
	return 0
}

// await waits for one of the guest's events.
func (g *guest) await(t testing.TB, what string, event <-chan struct{}) {
	t.Helper()
	select {
	case <-event:
	case <-g.ended:
		select {
		case <-event:
		default:
			t.Fatalf("the machine has ended: %+v", g.Exit())
		}
	case <-time.After(60 * time.Second):
		t.Fatalf("no %s in a minute", what)
	}
}

// told are the phases of the start: the guest's time, and the host's since the
// monitor was executed, in milliseconds.
func (g *guest) told() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.phases, ", ")
}

func url(path string, port int) string {
	return "http://" + net.JoinHostPort(guestIP, strconv.Itoa(port)) + path
}

func (g *guest) get(t testing.TB, path string, port int) string {
	t.Helper()
	response, err := g.client.Get(url(path, port))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func (g *guest) said(t testing.TB) string {
	text, err := os.ReadFile(g.output)
	if err != nil {
		t.Log(err)
	}
	return string(text)
}
