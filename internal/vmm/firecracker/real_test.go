package firecracker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/host/process"
	"github.com/unifaas/unifaas/internal/vmm"
)

// Where the real tests' parts are: a Firecracker, with its jailer beside it,
// and an ELF kernel for the guest, with a serial port and no module needed.
const (
	programVariable = "UNIFAAS_FIRECRACKER"
	kernelVariable  = "UNIFAAS_TEST_VMLINUX"
)

// newRealRig makes a rig of the real Firecracker. A direct one has no jailer.
func newRealRig(t *testing.T, jailed bool) *rig {
	t.Helper()
	program := os.Getenv(programVariable)
	if program == "" {
		t.Skip(programVariable + " names no Firecracker")
	}
	if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		t.Skipf("Firecracker needs KVM: %v", err)
	} else {
		f.Close()
	}
	r := newRig(t, jailed, script{})
	for _, name := range []string{"firecracker", "jailer"} {
		path := filepath.Join(r.bin, name)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := putProgram(filepath.Join(filepath.Dir(program), name), path); err != nil {
			t.Fatal(err)
		}
	}
	// Without a jailer its user needs the devices.
	if os.Geteuid() == 0 && !jailed {
		for _, device := range []string{"/dev/kvm", "/dev/net/tun"} {
			open(t, device)
		}
	}
	return r
}

// open lets everybody use a device until the test's end, as udev does.
func open(t *testing.T, device string) {
	t.Helper()
	before, err := os.Stat(device)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err == nil {
		err = os.Chmod(device, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(device, before.Mode().Perm()) })
}

// TestRealRefusal: the real one refuses a kernel that is none.
func TestRealRefusal(t *testing.T) {
	both(t, func(t *testing.T, jailed bool) {
		r := newRealRig(t, jailed)
		if c := r.monitor.Probe(soon(t)); !c.Works || c.Version == "" {
			t.Errorf("probe: got %+v", c)
		}
		began := time.Now()
		var refused *vmm.APIError
		_, err := r.monitor.Start(soon(t), r.config)
		if !errors.As(err, &refused) || refused.Request != "PUT /actions" {
			t.Errorf("got %v", err)
		}
		t.Logf("after %v: %v", time.Since(began), err)
		r.nothingLeft()
	})
}

// TestRealNoDisk: it refuses a disk that its user can't write.
func TestRealNoDisk(t *testing.T) {
	both(t, func(t *testing.T, jailed bool) {
		r := newRealRig(t, jailed)
		path := r.write(r.bin, "secret.img", strings.Repeat("x", 4096))
		if err := os.Chmod(path, 0); err != nil {
			t.Fatal(err)
		}
		r.config.Disks = []vmm.Disk{{Path: path, ReadOnly: true}}
		var refused *vmm.APIError
		if _, err := r.monitor.Start(soon(t), r.config); !errors.As(err, &refused) || !strings.Contains(refused.Fault, "Permission denied") {
			t.Errorf("got %v", err)
		}
		r.nothingLeft()
	})
}

// A guest is a real machine whose console is read.
type guest struct {
	*rig
	lines chan string
}

func newGuest(t *testing.T, jailed bool, cmdline string) *guest {
	t.Helper()
	g := &guest{rig: newRealRig(t, jailed), lines: make(chan string, 10000)}
	kernel := os.Getenv(kernelVariable)
	if kernel == "" {
		t.Skip(kernelVariable + " names no kernel")
	}
	g.config.Kernel = kernel
	g.config.Initrd = g.write(g.bin, "initrd.cpio", string(innerArchive(t)))
	g.config.Cmdline = "console=ttyS0 reboot=k panic=-1 quiet rdinit=/init " + cmdline
	g.config.Disks = []vmm.Disk{
		{Path: g.write(g.bin, "root.img", strings.Repeat("r", 1<<20)), ReadOnly: true},
		{Path: g.write(g.bin, "data.img", strings.Repeat("d", 1<<20)), Bandwidth: 10 << 20, Operations: 500},
	}
	g.config.Vsock = 3
	g.config.Memory = 128 << 20
	if path := os.Getenv("UNIFAAS_TEST_CPU_CONFIG"); path != "" {
		g.config.Options = map[string]any{"cpu-config": path}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	g.config.Console = w
	t.Cleanup(func() { w.Close() })
	go func() {
		defer close(g.lines)
		defer r.Close()
		for s := bufio.NewScanner(r); s.Scan(); {
			select {
			case g.lines <- s.Text():
			default:
			}
		}
	}()
	return g
}

// count waits for the guest's next number.
func (g *guest) count() int {
	g.t.Helper()
	late := time.After(2 * time.Minute)
	for {
		select {
		case text, ok := <-g.lines:
			if !ok {
				g.t.Fatal("the console has ended")
			}
			if !strings.Contains(text, "inner: ") {
				g.t.Log("console:", text)
			}
			if _, number, ok := strings.Cut(text, "inner: "); ok {
				if n, err := strconv.Atoi(strings.TrimSpace(number)); err == nil {
					return n
				}
			}
		case <-late:
			g.t.Fatal("the guest says nothing")
		}
	}
}

// silent waits until the guest has said nothing for a while.
func (g *guest) silent() {
	g.t.Helper()
	for late := time.After(10 * time.Second); ; {
		select {
		case <-g.lines:
		case <-time.After(time.Second):
			return
		case <-late:
			g.t.Fatal("the guest goes on")
		}
	}
}

func (g *guest) tap(name string, uid int) {
	g.t.Helper()
	if err := setTap(name, uid, true); err != nil {
		g.t.Skipf("make tap: %v", err)
	}
	g.t.Cleanup(func() {
		if err := setTap(name, uid, false); err != nil {
			g.t.Error(err)
		}
	})
	g.config.NICs = []vmm.NIC{{Tap: name, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Bandwidth: 1 << 20}}
}

// setTap makes a tap that outlives its maker, or removes it.
func setTap(name string, uid int, persist bool) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return err
	}
	on := 0
	if persist {
		on = 1
	}
	return errors.Join(unix.IoctlSetInt(fd, unix.TUNSETOWNER, uid), unix.IoctlSetInt(fd, unix.TUNSETPERSIST, on))
}

// TestRealEnds: a guest resets itself, and one panics, on a PCI bus.
func TestRealEnds(t *testing.T) {
	both(t, func(t *testing.T, jailed bool) {
		for _, end := range []string{"reset", "panic"} {
			g := newGuest(t, jailed, "at=2 end="+end)
			if v, err := parseVersion(g.monitor.Probe(soon(t)).Version); err == nil && v.has(pci) && end == "panic" {
				g.config.Options = maps.Clone(g.config.Options)
				if g.config.Options == nil {
					g.config.Options = map[string]any{}
				}
				g.config.Options[optionPCI] = true
			}
			began := time.Now()
			m := g.start()
			started := time.Since(began)
			g.count()
			t.Logf("%s: start returned after %v, first word of the guest after %v", end, started, time.Since(began))
			if e := m.Wait(); !e.Reboot || e.Code != 0 {
				t.Errorf("%s: got %+v", end, e)
			} else {
				t.Logf("%s: %s", end, e.Reason)
			}
			g.nothingLeft()
		}
	})
}

// TestRealLife: a guest is paused, resumed, kept, and restored twice, under
// another user, on another tap.
func TestRealLife(t *testing.T) {
	both(t, func(t *testing.T, jailed bool) {
		g := newGuest(t, jailed, "")
		g.tap("fctap0", ordinary)
		began := time.Now()
		m := g.start()
		t.Logf("start returned after %v", time.Since(began))
		g.count()
		t.Logf("first word of the guest after %v", time.Since(began))
		isFiltered(t, m.Process())
		if err := m.Pause(soon(t)); err != nil {
			t.Fatal(err)
		}
		g.silent()
		if err := m.Resume(soon(t)); err != nil {
			t.Fatal(err)
		}
		g.count()
		again, err := g.monitor.Recover(soon(t), g.config.Dir, m.Process())
		if err != nil {
			t.Fatal(err)
		}
		kept := filepath.Join(g.bin, "kept") // where homes are, too
		if err := os.Mkdir(kept, 0o700); err != nil {
			t.Fatal(err)
		}
		t.Logf("recovered after %v", time.Since(began))
		began = time.Now()
		if err := again.Snapshot(soon(t), kept); err != nil {
			t.Fatal(err)
		}
		t.Logf("kept in %v", time.Since(began))
		if err := again.Close(); err != nil {
			t.Error(err)
		}
		if err := m.Kill(soon(t)); err != nil {
			t.Error(err)
		}
		for i := range 2 {
			c := newGuest(t, jailed, "")
			c.config.UID += i
			c.config.GID += i
			c.tap(fmt.Sprintf("fctap%d", i+1), c.config.UID)
			began := time.Now()
			m, err := c.monitor.Restore(soon(t), c.config, kept)
			if err != nil {
				t.Fatal(err)
			}
			c.endLater(m)
			restored := time.Since(began)
			n := c.count()
			t.Logf("restored in %v, its first word after %v: %d", restored, time.Since(began), n)
			if n == 0 {
				t.Error("it counts from the beginning")
			}
			// Nothing in this guest drives the device.
			ctx, cancel := context.WithTimeout(soon(t), time.Second)
			if _, err := m.(vmm.Vsocker).DialVsock(ctx, 5); err == nil {
				t.Error("something listens on its vsock port")
			}
			cancel()
		}
	})
}

// isFiltered asserts that a Firecracker has its system call filters.
func isFiltered(t *testing.T, id process.Identity) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", id.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "Seccomp:") && strings.TrimSpace(strings.TrimPrefix(line, "Seccomp:")) != "2" {
			t.Errorf("its filters: %s", line)
		}
		if strings.HasPrefix(line, "Uid:") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// innerArchive is an initial file system with the program inner as its init
// (newc format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
func innerArchive(t *testing.T) []byte {
	t.Helper()
	program := filepath.Join(t.TempDir(), "inner")
	build := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./inner")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	put := func(name string, mode int, content []byte) {
		fmt.Fprintf(&archive, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
			0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
		archive.Write(make([]byte, -archive.Len()&3))
		archive.Write(content)
		archive.Write(make([]byte, -archive.Len()&3))
	}
	put("init", 0o100755, text)
	put("TRAILER!!!", 0, nil)
	return archive.Bytes()
}
