package firecracker

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/host/process"
	"github.com/unifaas/unifaas/internal/vmm"
)

// ordinary is the user of the tests' machines, where the tests are root.
const ordinary = 61234

// A rig is a fake Firecracker and a folder for one machine.
type rig struct {
	t       *testing.T
	bin     string // of the programs, the script and what was asked
	monitor *Monitor
	config  vmm.Config
	started []process.Identity
}

// newRig makes a rig. jailed needs root.
func newRig(t *testing.T, jailed bool, s script) *rig {
	t.Helper()
	if jailed && os.Geteuid() != 0 {
		t.Skip("the jailer needs root")
	}
	//nolint:usetesting // an ordinary user has to get there, and jails may have to be elsewhere
	top, err := os.MkdirTemp(os.Getenv("UNIFAAS_TEST_DIR"), "fc-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(top) })
	r := &rig{t: t, bin: filepath.Join(top, "bin")}
	if s.Version == "" {
		s.Version = "1.16.1"
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(top, "machine")
	for _, d := range []string{r.bin, dir} {
		if err := os.Mkdir(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{top, r.bin} {
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	r.write(r.bin, "script.json", string(text))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"firecracker"}
	if jailed {
		names = append(names, "jailer")
	}
	for _, name := range names {
		if err := putProgram(self, filepath.Join(r.bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	r.monitor = New(Options{Path: filepath.Join(r.bin, "firecracker"), KVM: func(context.Context) error { return nil }})
	r.config = vmm.Config{
		ID: "m-1", Dir: dir, Boot: vmm.BootLinux, Kernel: r.write(top, "vmlinux", "\x7fELF"),
		Memory: 128 << 20, CPUs: 1, UID: ordinary, GID: ordinary,
		Spawn: func(cmd *exec.Cmd) error {
			err := cmd.Start()
			if err == nil {
				if s, err := process.Look(cmd.Process.Pid); err == nil {
					r.started = append(r.started, s.Identity)
				}
			}
			return err
		},
	}
	return r
}

// putProgram links a program, or copies it.
func putProgram(program, to string) error {
	if os.Link(program, to) == nil {
		return nil
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o755)
}

// full gives the machine everything that there is.
func (r *rig) full() {
	top := filepath.Dir(r.bin)
	r.config.Initrd = r.write(top, "initrd.img", "initrd")
	r.config.Cmdline = "console=ttyS0 reboot=k"
	r.config.Disks = []vmm.Disk{
		{Path: r.write(top, "root.img", "root"), ReadOnly: true},
		{Path: r.write(top, "data.img", "data"), Bandwidth: 10 << 20, Operations: 500},
	}
	r.config.NICs = []vmm.NIC{
		{Tap: "tap0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}},
		{Tap: "tap1", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, Bandwidth: 1 << 20},
	}
	r.config.Vsock = 3
	r.config.Options = map[string]any{
		"pci":        true,
		"cpu-config": map[string]any{"cpuid_modifiers": []any{map[string]any{"leaf": "0x1", "flags": 0}}},
	}
}

func (r *rig) write(dir, name, text string) string {
	r.t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// start starts the machine and ends it after the test.
func (r *rig) start() vmm.Machine {
	r.t.Helper()
	m, err := r.monitor.Start(soon(r.t), r.config)
	if err != nil {
		r.t.Fatal(err)
	}
	r.endLater(m)
	return m
}

func (r *rig) endLater(m vmm.Machine) {
	r.t.Helper()
	r.t.Cleanup(func() {
		if err := m.Kill(context.Background()); err != nil && !errors.Is(err, errLetGo) {
			r.t.Error(err)
		}
		if err := m.Close(); err != nil {
			r.t.Error(err)
		}
		r.nothingLeft()
	})
}

// asked returns what the fake was asked, in order.
func (r *rig) asked() []string {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.bin, "requests"))
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// nothingLeft asserts that neither a process nor a file is there any more.
func (r *rig) nothingLeft() {
	r.t.Helper()
	for _, id := range r.started {
		if s, err := process.Look(id.Pid); err == nil && s.Identity == id {
			r.t.Errorf("process %d is left, in state %c", id.Pid, s.State)
		}
	}
	entries, err := os.ReadDir(r.config.Dir)
	if err != nil {
		r.t.Error(err)
	}
	for _, e := range entries {
		r.t.Errorf("%q is left in the machine's folder", e.Name())
	}
}

// soon is a context that a test should not need to the end.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func status(n int) *int { return &n }
