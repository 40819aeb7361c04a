package firecracker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/internal/vmm"
)

// both runs a test without and with the jailer.
func both(t *testing.T, test func(t *testing.T, jailed bool)) {
	t.Run("direct", func(t *testing.T) { test(t, false) })
	t.Run("jailed", func(t *testing.T) { test(t, true) })
}

// steps are the requests of a full machine's start, in their order.
var steps = []string{
	"GET /version", "PUT /machine-config", "PUT /cpu-config", "PUT /boot-source", "PUT /drives/disk0", "PUT /drives/disk1",
	"PUT /network-interfaces/eth0", "PUT /network-interfaces/eth1", "PUT /vsock", "PUT /entropy", "PUT /actions",
}

func TestRequests(t *testing.T) {
	both(t, func(t *testing.T, jailed bool) {
		r := newRig(t, jailed, script{})
		r.full()
		r.start()
		run := "--id m-1 --api-sock api.sock --log-path log --level Info --show-level --enable-pci"
		environ := ""
		if jailed {
			environ = fakeDir + "=" + r.bin
		}
		uid := os.Getuid()
		if uid == 0 {
			uid = ordinary
		}
		want := []string{
			fmt.Sprintf("RUN as %d:%d in %s with %s", uid, uid, environ, run),
			`GET /version`,
			`PUT /machine-config {"vcpu_count":1,"mem_size_mib":128}`,
			`PUT /cpu-config {"cpuid_modifiers":[{"flags":0,"leaf":"0x1"}]}`,
			`PUT /boot-source {"kernel_image_path":"kernel","initrd_path":"initrd","boot_args":"console=ttyS0 reboot=k"}`,
			`PUT /drives/disk0 {"drive_id":"disk0","path_on_host":"disk0","is_root_device":false,"is_read_only":true}`,
			`PUT /drives/disk1 {"drive_id":"disk1","path_on_host":"disk1","is_root_device":false,"is_read_only":false,` +
				`"rate_limiter":{"bandwidth":{"size":10485760,"refill_time":1000},"ops":{"size":500,"refill_time":1000}}}`,
			`PUT /network-interfaces/eth0 {"iface_id":"eth0","host_dev_name":"tap0","guest_mac":"02:00:00:00:00:01"}`,
			`PUT /network-interfaces/eth1 {"iface_id":"eth1","host_dev_name":"tap1","guest_mac":"02:00:00:00:00:02",` +
				`"rx_rate_limiter":{"bandwidth":{"size":1048576,"refill_time":1000}},"tx_rate_limiter":{"bandwidth":{"size":1048576,"refill_time":1000}}}`,
			`PUT /vsock {"guest_cid":3,"uds_path":"vsock.sock"}`,
			`PUT /entropy {}`,
			`PUT /actions {"action_type":"InstanceStart"}`,
		}
		if diff := cmp.Diff(want, r.asked()); diff != "" {
			t.Errorf("what was asked (-want +got):\n%s", diff)
		}
	})
}

// TestSmallest: what is not asked for is not requested.
func TestSmallest(t *testing.T) {
	r := newRig(t, false, script{Version: "1.4.0"})
	r.config.NoEntropy = true
	r.start()
	want := []string{
		`GET /version`, `PUT /machine-config {"vcpu_count":1,"mem_size_mib":128}`,
		`PUT /boot-source {"kernel_image_path":"kernel","boot_args":""}`, `PUT /actions {"action_type":"InstanceStart"}`,
	}
	if diff := cmp.Diff(want, r.asked()[1:]); diff != "" {
		t.Errorf("what was asked (-want +got):\n%s", diff)
	}
}

func (r *rig) fails() error {
	r.t.Helper()
	return r.failsWithin(time.Minute)
}

// failsWithin starts the machine, which has to fail and leave nothing.
func (r *rig) failsWithin(limit time.Duration) error {
	r.t.Helper()
	r.full()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	m, err := r.monitor.Start(ctx, r.config)
	if err == nil {
		r.endLater(m)
		r.t.Fatal("it started")
	}
	r.nothingLeft()
	return err
}

func TestRefused(t *testing.T) {
	both(t, func(t *testing.T, jailed bool) {
		for _, step := range steps {
			r := newRig(t, jailed, script{On: map[string]act{step: {Status: 400, Fault: "it\nwon't"}}})
			var refused *vmm.APIError
			if err := r.fails(); !errors.As(err, &refused) {
				t.Errorf("%s: got %v", step, err)
				continue
			}
			want := &vmm.APIError{Monitor: Name, Request: step, Status: 400, Fault: "it won't"}
			if diff := cmp.Diff(want, refused); diff != "" {
				t.Errorf("%s: the error (-want +got):\n%s", step, diff)
			}
		}
	})
}

// TestCrash: Firecracker ends at each step, in each way.
func TestCrash(t *testing.T) {
	both(t, func(t *testing.T, jailed bool) {
		for i, step := range steps {
			ways := []struct {
				act  act
				want string
			}{
				{act{Exit: status(148), Log: []string{"ERROR Shutting down VM after intercepting a bad syscall (14)."}}, "a system call that its filter forbids: Shutting down VM"},
				{act{Signal: 9}, "ended by signal 9"},
				{act{Exit: status(0), Log: []string{"ERROR Received KVM_EXIT_INTERNAL_ERROR signal"}}, "could not go on running the guest: Received KVM_EXIT_INTERNAL_ERROR"},
			}
			way := ways[i%len(ways)]
			r := newRig(t, jailed, script{On: map[string]act{step: way.act}})
			if err := r.fails(); !strings.Contains(err.Error(), way.want) || !strings.Contains(err.Error(), step) {
				t.Errorf("%s: got %v, want %q", step, err, way.want)
			}
		}
	})
}

func TestSlow(t *testing.T) {
	both(t, func(t *testing.T, jailed bool) {
		for _, step := range []string{steps[0], steps[4], steps[len(steps)-1]} {
			r := newRig(t, jailed, script{On: map[string]act{step: {Delay: time.Hour}}})
			if err := r.failsWithin(2 * time.Second); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), step) {
				t.Errorf("%s: got %v", step, err)
			}
		}
	})
}

func TestGarbage(t *testing.T) {
	for _, answer := range []string{
		"\n", "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 204 \r\n", "HTTP/1.1 200 \r\nContent-Length: 9999999\r\n\r\n",
		"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n[]", "HTTP/1.1 200 \r\nContent-Length: 40\r\n\r\n{",
		"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 204 \r\n\r\nHTTP/1.1 204 \r\n\r\n",
		"HTTP/1.1 204 \r\n" + strings.Repeat("A: b\r\n", 100), strings.Repeat("A", 1<<20),
	} {
		r := newRig(t, false, script{On: map[string]act{"GET /version": {Raw: answer}}})
		if err := r.fails(); !strings.Contains(err.Error(), "GET /version") {
			t.Errorf("%.40q: got %v", answer, err)
		}
	}
}

func TestNeverListens(t *testing.T) {
	both(t, func(t *testing.T, jailed bool) {
		r := newRig(t, jailed, script{Deaf: true})
		if err := r.failsWithin(time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestEndsBeforeListening(t *testing.T) {
	both(t, func(t *testing.T, jailed bool) {
		r := newRig(t, jailed, script{Begin: act{Exit: status(1), Log: []string{"ERROR Seccomp error: no"}}})
		began := time.Now()
		err := r.fails()
		if want := "firecracker exited with status 1: Seccomp error: no"; !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if took := time.Since(began); took > logLinger*9/10 {
			t.Errorf("it was noticed after %v", took)
		}
	})
}

func TestSpawnFails(t *testing.T) {
	both(t, func(t *testing.T, jailed bool) {
		r := newRig(t, jailed, script{})
		r.config.Spawn = func(*exec.Cmd) error { return errors.New("no room") }
		if err := r.fails(); !strings.Contains(err.Error(), "no room") {
			t.Errorf("got %v", err)
		}
	})
}

// TestFilesMissing: each file that is to be placed is not there.
func TestFilesMissing(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*vmm.Config)
	}{
		{"kernel", func(c *vmm.Config) { c.Kernel += ".gone" }},
		{"initrd", func(c *vmm.Config) { c.Initrd += ".gone" }},
		{"disk", func(c *vmm.Config) { c.Disks[1].Path += ".gone" }},
	} {
		r := newRig(t, false, script{})
		r.full()
		c.set(&r.config)
		_, err := r.monitor.Start(soon(t), r.config)
		if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s: got %v", c.name, err)
		}
		r.nothingLeft()
	}
}

func TestChecks(t *testing.T) {
	r := newRig(t, false, script{Version: "1.11.0"})
	for _, c := range []struct {
		want string
		set  func(*vmm.Config)
	}{
		{"no machine's id", func(c *vmm.Config) { c.ID = "A" }},
		{"no BIOS", func(c *vmm.Config) { c.Boot = vmm.BootDisk }},
		{"no way to boot", func(c *vmm.Config) { c.Boot = "tape" }},
		{"needs a kernel", func(c *vmm.Config) { c.Kernel = "" }},
		{"multiples of 1 MiB", func(c *vmm.Config) { c.Memory = 1<<20 + 1 }},
		{"1 to 32", func(c *vmm.Config) { c.CPUs = 33 }},
		{"reserved", func(c *vmm.Config) { c.Vsock = 2 }},
		{"no way to start", func(c *vmm.Config) { c.Spawn = nil }},
		{"no option \"acpi\"", func(c *vmm.Config) { c.Options = map[string]any{"acpi": true} }},
		{"true or false", func(c *vmm.Config) { c.Options = map[string]any{"pci": "yes"} }},
		{"needs 1.13", func(c *vmm.Config) { c.Options = map[string]any{"pci": true} }},
		{"no such file", func(c *vmm.Config) { c.Options = map[string]any{"cpu-config": "/gone"} }},
		{"no JSON object", func(c *vmm.Config) { c.Options = map[string]any{"cpu-config": r.write(r.bin, "bad.json", "[]")} }},
		{"larger than", func(c *vmm.Config) {
			c.Options = map[string]any{"cpu-config": r.write(r.bin, "big.json", strings.Repeat(" ", maxCPUConfig+1))}
		}},
		{"a table or the path", func(c *vmm.Config) { c.Options = map[string]any{"cpu-config": 7} }},
		{"1.12 is needed", func(c *vmm.Config) { c.Boot = vmm.BootPVH }},
		{"is compressed", func(c *vmm.Config) {
			c.Kernel = r.write(r.bin, "vmlinuz", "MZ"+strings.Repeat("\x00", 0x200)+"HdrS")
		}},
	} {
		config := r.config
		c.set(&config)
		if _, err := r.monitor.Start(soon(t), config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
		r.nothingLeft()
	}
	if os.Geteuid() == 0 {
		config := r.config
		config.UID = 0
		if _, err := r.monitor.Start(soon(t), config); err == nil {
			t.Error("it started as root")
		}
	}
}

func TestTooOld(t *testing.T) {
	r := newRig(t, false, script{Version: "1.3.3"})
	if err := r.fails(); !strings.Contains(err.Error(), "1.3.3 is too old: 1.4 is needed") {
		t.Errorf("got %v", err)
	}
}

// TestLongPath: a home that is further away than a socket's address is long.
func TestLongPath(t *testing.T) {
	both(t, func(t *testing.T, jailed bool) {
		r := newRig(t, jailed, script{})
		r.config.Dir = filepath.Join(r.config.Dir, strings.Repeat("long", 40))
		if err := os.Mkdir(r.config.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
		r.config.Vsock = 3
		m := r.start()
		if err := m.Pause(soon(t)); err != nil {
			t.Error(err)
		}
		conn, err := m.(vmm.Vsocker).DialVsock(soon(t), 7)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	})
}

// TestClosedParents: Firecracker's user can't walk to its home.
func TestClosedParents(t *testing.T) {
	both(t, func(t *testing.T, jailed bool) {
		r := newRig(t, jailed, script{})
		if os.Geteuid() != 0 {
			t.Skip("needs root")
		}
		if err := os.Chmod(r.config.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		r.start()
	})
}

// TestHomes: homes are elsewhere than the machines' folders.
func TestHomes(t *testing.T) {
	r := newRig(t, true, script{})
	homes := filepath.Join(t.TempDir(), "state", "homes") // made when it is needed
	r.monitor.options.Homes = homes
	m := r.start()
	if _, err := os.Stat(filepath.Join(homes, "m-1", "firecracker", "m-1", "root", "api.sock")); err != nil {
		t.Error(err)
	}
	if err := m.Kill(soon(t)); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(homes); err != nil || len(entries) > 0 {
		t.Errorf("left in the homes: %v, %v", entries, err)
	}
}

// TestTwoOfOneID: the second is refused, and does not end the first.
func TestTwoOfOneID(t *testing.T) {
	r := newRig(t, false, script{})
	m := r.start()
	if _, err := r.monitor.Start(soon(t), r.config); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v", err)
	}
	if err := m.Pause(soon(t)); err != nil {
		t.Errorf("the first: %v", err)
	}
	if _, err := readHome(r.config.Dir); err != nil {
		t.Errorf("the first's record: %v", err)
	}
}
