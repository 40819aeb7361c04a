package qemu_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
	"github.com/unifaas/unifaas/internal/vmm"
	"github.com/unifaas/unifaas/internal/vmm/qemu"
)

var mac = net.HardwareAddr{2, 0, 0, 1, 2, 3}

// writeDisk makes a disk of 1 MiB that only its owner may read.
func writeDisk(t *testing.T, path, begins string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(begins), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<20); err != nil {
		t.Fatal(err)
	}
}

// TestDevices: the guest finds what it was given, in order.
func TestDevices(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		c, console := r.config("devices")
		first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
		writeDisk(t, first, "one")
		writeDisk(t, second, "two")
		c.CPUs = 2
		c.Disks = []vmm.Disk{
			{Path: first, ReadOnly: true},
			{Path: second, Bandwidth: 10 << 20, Operations: 1000},
		}
		tap := openTap(t, r.monitor.Name())
		c.NICs = []vmm.NIC{{Tap: "tap0", MAC: mac, Open: func() (*os.File, error) { return tap, nil }}}
		m := r.start(c)
		for _, line := range []string{
			`disk vda begins "one"`, "disk vda is read-only",
			`disk vdb begins "two"`, "disk vdb was written",
			"interface " + mac.String(), "entropy of virtio_rng.0",
		} {
			console.await(line)
		}
		m.Wait()
		if got, err := os.ReadFile(second); err != nil || string(got[512:1024]) != strings.Repeat("w", 512) {
			t.Errorf("the second disk: got %q, %v", got[512:520], err)
		}
	})
}

// openTap makes a tap, in a network namespace that goes with it, and opens it.
func openTap(t *testing.T, monitor string) *os.File {
	t.Helper()
	if os.Geteuid() != 0 {
		sandboxtest.Skip(t, monitor, sandboxtest.NotRoot{What: "make a tap"})
	}
	made := make(chan *os.File)
	go func() {
		defer close(made)
		runtime.LockOSThread() // for good: the thread ends, and with it its namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		file, err := tapOf("tap0")
		if err != nil {
			t.Error(err)
			return
		}
		made <- file
	}()
	file, ok := <-made
	if !ok {
		t.FailNow()
	}
	t.Cleanup(func() { file.Close() })
	return file
}

func tapOf(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// TestTapByName: QEMU opens the tap itself, in the namespace that it is
// started in.
func TestTapByName(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		if os.Geteuid() != 0 {
			sandboxtest.Skip(t, r.monitor.Name(), sandboxtest.NotRoot{What: "make a tap"})
		}
		c, _ := r.config("count")
		c.UID, c.GID = 0, 0 // where only root may open /dev/net/tun
		c.NICs = []vmm.NIC{{Tap: "tap0", MAC: mac}}
		c.Spawn = func(cmd *exec.Cmd) error {
			done := make(chan error)
			go func() {
				runtime.LockOSThread()
				err := unix.Unshare(unix.CLONE_NEWNET)
				if err == nil {
					err = cmd.Start()
				}
				done <- err
			}()
			return <-done
		}
		m := r.start(c)
		if err := m.Pause(r.ctx); err != nil {
			t.Error(err)
		}
	})
}

// TestBootsFromDisk: the boot sector is of 16-bit code that writes to the
// serial port.
func TestBootsFromDisk(t *testing.T) {
	r := newRig(t, qemu.New(qemu.Q35, qemu.Options{}))
	sector := []byte{
		0x31, 0xc0, // xor ax, ax
		0x8e, 0xd8, // mov ds, ax
		0xbe, 0x20, 0x7c, // mov si, 0x7c20
		0xba, 0xf8, 0x03, // mov dx, 0x3f8
		0xac,       // next: lodsb
		0x84, 0xc0, // test al, al
		0x74, 0x03, // jz halt
		0xee,       // out dx, al
		0xeb, 0xf8, // jmp next
		0xf4,       // halt: hlt
		0xeb, 0xfd, // jmp halt
	}
	sector = append(sector, make([]byte, 0x20-len(sector))...)
	sector = append(sector, "boot sector runs\r\n\x00"...)
	sector = append(sector, make([]byte, 510-len(sector))...)
	disk := filepath.Join(t.TempDir(), "disk")
	writeDisk(t, disk, string(append(sector, 0x55, 0xaa)))
	c, console := r.config("")
	c.Boot, c.Kernel, c.Initrd, c.Cmdline = vmm.BootDisk, "", "", ""
	c.Disks = []vmm.Disk{{Path: disk}}
	r.start(c)
	console.await("boot sector runs")

	small := qemu.New(qemu.Microvm, qemu.Options{})
	if _, err := small.Start(r.ctx, c); err == nil || !strings.Contains(err.Error(), `use "qemu"`) {
		t.Errorf("microvm: got %v", err)
	}
}

// TestArtefactOptions: what the artefact's functions say is taken as its own
// platform takes it.
func TestArtefactOptions(t *testing.T) {
	r := newRig(t, qemu.New(qemu.Microvm, qemu.Options{}))
	c, console := r.config("poweroff")
	c.Options = map[string]any{"disk-type": "block", "acpi": true, "pic": true, "pit": true, "rtc": true, "auto-kernel-cmdline": false}
	r.start(c)
	console.await("guest: poweroff")
	c, console = r.config("poweroff")
	c.Options = map[string]any{"acpi": false, "pic": false, "pit": false, "rtc": false, "auto-kernel-cmdline": true}
	r.start(c)
	console.await("guest: poweroff")
}
