package qemu_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/host/leak"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
	"github.com/unifaas/unifaas/internal/vmm"
	"github.com/unifaas/unifaas/internal/vmm/qemu"
)

// nobody is the user of the monitors in tests by root.
const nobody = 65534

// patience bounds what a test waits for: TCG on a busy machine is slow.
const patience = time.Minute

// tempDir holds what all tests share.
var tempDir string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if tempDir, err = os.MkdirTemp("", "unifaas-qemu-"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(tempDir)
		if err := os.Chmod(tempDir, 0o755); err != nil {
			panic(err)
		}
		return m.Run()
	}())
}

// each runs a test with both monitors.
func each(t *testing.T, test func(t *testing.T, r *rig)) {
	for _, machine := range []qemu.Type{qemu.Microvm, qemu.Q35} {
		monitor := qemu.New(machine, qemu.Options{})
		t.Run(monitor.Name(), func(t *testing.T) { test(t, newRig(t, monitor)) })
	}
}

// A rig starts machines of a test and sees that nothing stays.
type rig struct {
	testing.TB
	monitor *qemu.Monitor
	guest   guest
	ctx     context.Context
}

func newRig(t testing.TB, monitor *qemu.Monitor) *rig {
	t.Helper()
	r := &rig{TB: t, monitor: monitor}
	if _, err := exec.LookPath(qemu.Program); err != nil {
		sandboxtest.Skip(t, monitor.Name(), sandboxtest.Missing{What: qemu.Program, Remedy: "apt-get install qemu-system-x86"})
	}
	r.guest = needGuest(t, monitor.Name())
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	r.ctx = ctx
	before, err := leak.Snapshot(leak.Self())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		left, err := leak.Settle(ctx, before, leak.Self())
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %q, %v", left, err)
		}
	})
	return r
}

// config returns a machine that boots the guest to do something, and its
// console.
func (r *rig) config(do string) (vmm.Config, *console) {
	c := vmm.Config{
		ID: "test-" + strings.ToLower(filepath.Base(r.TempDir())), Dir: r.folder(),
		Boot: vmm.BootLinux, Kernel: r.guest.kernel, Initrd: r.guest.initrd,
		Cmdline: "console=ttyS0 quiet reboot=t panic=-1 " + qemu.Parameters(vmm.TCG) + " do=" + do,
		Memory:  128 << 20, CPUs: 1,
		UID: nobody, GID: nobody,
		Spawn: (*exec.Cmd).Start,
	}
	return c, r.console(&c)
}

// folder makes a machine's folder, which only the platform can enter.
func (r *rig) folder() string {
	dir := filepath.Join(r.TempDir(), strings.Repeat("long/", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		r.Fatal(err)
	}
	return dir
}

// start starts a machine that is ended with the test.
func (r *rig) start(c vmm.Config) vmm.Machine {
	r.Helper()
	defer c.Console.Close()
	return r.keep(r.monitor.Start(r.ctx, c))
}

func (r *rig) restore(c vmm.Config, from string) vmm.Machine {
	r.Helper()
	defer c.Console.Close()
	return r.keep(r.monitor.Restore(r.ctx, c, from))
}

func (r *rig) keep(m vmm.Machine, err error) vmm.Machine {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		if err := m.Kill(context.WithoutCancel(r.ctx)); err != nil {
			r.Error(err)
		}
		if err := m.Close(); err != nil {
			r.Error(err)
		}
	})
	return m
}

// A console is the reader's end of a machine's.
type console struct {
	*rig
	file *os.File
	in   *bufio.Reader
	seen strings.Builder
}

// console gives c a new console.
func (r *rig) console(c *vmm.Config) *console {
	in, out, err := os.Pipe()
	if err != nil {
		r.Fatal(err)
	}
	c.Console = out
	r.Cleanup(func() { in.Close(); out.Close() })
	return &console{rig: r, file: in, in: bufio.NewReader(in)}
}

// await reads until a line holds text, and returns that.
func (c *console) await(text string) string {
	c.Helper()
	_ = c.file.SetReadDeadline(time.Now().Add(patience))
	for {
		line, err := c.in.ReadString('\n')
		c.seen.WriteString(line)
		if strings.Contains(line, text) {
			return strings.TrimSpace(line)
		}
		if err != nil {
			c.Fatalf("wait for %q on the console: %v; it has\n%s", text, err, c.seen.String())
		}
	}
}

// silent reports whether nothing comes for a while, after what is there.
func (c *console) silent(while time.Duration) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		_ = c.file.SetReadDeadline(time.Now().Add(while))
		if _, err := c.in.ReadString('\n'); err != nil {
			return os.IsTimeout(err)
		}
	}
	return false
}
