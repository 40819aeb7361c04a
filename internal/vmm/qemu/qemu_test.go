package qemu_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/host/process"
	"github.com/unifaas/unifaas/internal/vmm"
	"github.com/unifaas/unifaas/internal/vmm/qemu"
)

func TestEnds(t *testing.T) {
	for _, test := range []struct{ do, reason string }{
		{"poweroff", "powered off"},
		{"panic", "restarted"},
		{"reboot", "restarted"},
	} {
		t.Run(test.do, func(t *testing.T) {
			each(t, func(t *testing.T, r *rig) {
				c, console := r.config(test.do)
				began := time.Now()
				m := r.start(c)
				started := time.Since(began)
				console.await("guest: " + test.do)
				t.Logf("started in %v, first process after %v", started, time.Since(began))
				exit := m.Wait()
				if exit.Code != 0 || !exit.Reboot || !strings.Contains(exit.Reason, test.reason) {
					t.Errorf("exit: got %+v, want one with %q", exit, test.reason)
				}
				select {
				case <-m.Done():
				default:
					t.Error("it is not done")
				}
				if err := m.Pause(r.ctx); err == nil {
					t.Error("a machine that has ended was paused")
				}
			})
		})
	}
}

func TestMonitorKilled(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		c, _ := r.config("count")
		m := r.start(c)
		if err := unix.Kill(m.Process().Pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if exit := m.Wait(); exit.Signal != int(unix.SIGKILL) || exit.Code != -1 || exit.Reboot {
			t.Errorf("exit: got %+v", exit)
		}
	})
}

// TestPauseSnapshotRestore: the guest counts; it stands still while it is
// paused, and two clones of it go on where it was.
func TestPauseSnapshotRestore(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		c, console := r.config("count")
		disk := filepath.Join(t.TempDir(), "a,b") // a comma separates QEMU's options
		writeDisk(t, disk, "shared")
		c.Disks = []vmm.Disk{{Path: disk, ReadOnly: true}}
		m := r.start(c)
		console.await("n 3")
		for range 2 { // also of what is paused already
			if err := m.Pause(r.ctx); err != nil {
				t.Fatal(err)
			}
		}
		if !console.silent(300 * time.Millisecond) {
			t.Error("a paused machine goes on")
		}
		for range 2 {
			if err := m.Resume(r.ctx); err != nil {
				t.Fatal(err)
			}
		}
		console.await("n ")

		from := t.TempDir()
		began := time.Now()
		if err := m.Snapshot(r.ctx, from); err != nil {
			t.Fatal(err)
		}
		t.Logf("snapshot in %v, of %s", time.Since(began), sizes(t, from))
		if !console.silent(300 * time.Millisecond) {
			t.Error("a machine that was kept goes on")
		}
		before := contents(t, from)
		one, first := restored(r, c, from)
		_, second := restored(r, c, from)
		// Neither does the original end, nor do the clones disturb each other.
		if err := m.Resume(r.ctx); err != nil {
			t.Fatal(err)
		}
		console.await("n ")
		second.await("n ")
		first.await("n ")

		// A clone can be kept too, though its memory is no file.
		again := t.TempDir()
		if err := one.Pause(r.ctx); err != nil {
			t.Fatal(err)
		}
		if err := one.Snapshot(r.ctx, again); err != nil {
			t.Fatal(err)
		}
		_, third := restored(r, c, again)
		third.await("n ")
		if contents(t, from) != before {
			t.Error("a snapshot was changed by its clones")
		}

		if err := m.Snapshot(r.ctx, from); err == nil || !strings.Contains(err.Error(), "not empty") {
			t.Errorf("into a folder that is not empty: got %v", err)
		}
		other := c
		other.Memory *= 2
		if _, err := r.monitor.Restore(r.ctx, other, from); err == nil || !strings.Contains(err.Error(), "128 MiB") {
			t.Errorf("restore with other memory: got %v", err)
		}
	})
}

// restored is a clone of config with a folder and a console of its own.
func restored(r *rig, c vmm.Config, from string) (vmm.Machine, *console) {
	r.Helper()
	c.Dir = r.folder()
	console := r.console(&c)
	began := time.Now()
	m := r.restore(c, from)
	took := time.Since(began)
	line := console.await("n ")
	r.Logf("restored in %v, on the console after %v: %s", took, time.Since(began), line)
	return m, console
}

func contents(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `cd "$1" && sha256sum *`, "sh", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func sizes(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("du", "-ak", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(strings.ReplaceAll(string(out), dir, "")), " ")
}

// TestRecover: a machine outlives the object that has started it.
func TestRecover(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		c, console := r.config("count")
		m, err := r.monitor.Start(r.ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		id := m.Process()
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		console.await("n 1")
		select {
		case <-m.Done():
			t.Error("what was let go of has ended")
		default:
		}
		again := r.keep(r.monitor.Recover(r.ctx, c.Dir, id))
		console.await("n ")
		from := t.TempDir()
		if err := again.Snapshot(r.ctx, from); err != nil {
			t.Fatal(err)
		}
		restored(r, c, from)
		if err := again.Kill(r.ctx); err != nil {
			t.Fatal(err)
		}
		if exit := again.Wait(); exit.Signal != int(unix.SIGKILL) {
			t.Errorf("exit: got %+v", exit)
		}
		if _, err := r.monitor.Recover(r.ctx, c.Dir, id); !errors.Is(err, process.ErrGone) {
			t.Errorf("recover what is gone: got %v", err)
		}
	})
}

// TestStartFails: each failure says what was wrong, and leaves nothing.
func TestStartFails(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		damaged := filepath.Join(t.TempDir(), "kernel")
		if err := os.WriteFile(damaged, []byte(strings.Repeat("no kernel ", 1000)), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			name  string
			spoil func(*vmm.Config)
			want  string
		}{
			{"no kernel", func(c *vmm.Config) { c.Kernel = "/no/kernel" }, "/no/kernel: no such file"},
			{"folder", func(c *vmm.Config) { c.Initrd = "/tmp" }, "/tmp is a folder"},
			{"damaged kernel", func(c *vmm.Config) { c.Kernel = damaged }, "exit status 1: "},
			{"no tap", func(c *vmm.Config) { c.NICs = []vmm.NIC{{Tap: "none0", MAC: mac}} }, "none0"},
			{"processor", func(c *vmm.Config) { c.Options = map[string]any{"cpu-model": "host -daemonize"} }, `"cpu-model" of monitor`},
			{"unknown option", func(c *vmm.Config) { c.Options = map[string]any{"acip": true} }, `no option "acip"; it has `},
			{"9p", func(c *vmm.Config) { c.Options = map[string]any{"disk-type": "9p"} }, `"9p" is not offered`},
			{"disk type", func(c *vmm.Config) { c.Options = map[string]any{"disk-type": 1} }, `got 1, want "block"`},
			{"id", func(c *vmm.Config) { c.ID = "a,b" }, "machine id"},
			{"memory", func(c *vmm.Config) { c.Memory = 1000 }, "multiple of 1 MiB"},
			{"too much memory", func(c *vmm.Config) { c.Memory = 1 << 50 }, "exit status 1"},
			{"cpus", func(c *vmm.Config) { c.CPUs = 0 }, "at least 1"},
			{"boot", func(c *vmm.Config) { c.Boot = "floppy" }, `"floppy"`},
			{"vsock", func(c *vmm.Config) { c.Vsock = 3 }, "reaches whatever on the host listens"},
			{"bandwidth", func(c *vmm.Config) { c.NICs = []vmm.NIC{{Tap: "t", MAC: mac, Bandwidth: 1}} }, "bound the tap"},
			{"spawn", func(c *vmm.Config) { c.Spawn = func(*exec.Cmd) error { return errors.New("no room") } }, "no room"},
			{"program ends", func(c *vmm.Config) {
				c.Spawn = func(cmd *exec.Cmd) error { cmd.Path = "/bin/false"; return cmd.Start() }
			}, "exit status 1"},
		} {
			t.Run(test.name, func(t *testing.T) {
				c, _ := r.config("count")
				test.spoil(&c)
				_, err := r.monitor.Start(r.ctx, c)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
				if left, err := os.ReadDir(c.Dir); err != nil || len(left) > 0 {
					t.Errorf("left in the folder: %v, %v", left, err)
				}
			})
		}
	})
}

// TestStartOutOfTime: a monitor that does not answer.
func TestStartOutOfTime(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		c, _ := r.config("count")
		c.Spawn = func(cmd *exec.Cmd) error {
			cmd.Path, cmd.Args = "/bin/sleep", []string{"sleep", "60"}
			return cmd.Start()
		}
		ctx, cancel := context.WithTimeout(r.ctx, 50*time.Millisecond)
		defer cancel()
		if _, err := r.monitor.Start(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if left, err := os.ReadDir(c.Dir); err != nil || len(left) > 0 {
			t.Errorf("left in the folder: %v, %v", left, err)
		}
	})
}

func TestProbe(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		began := time.Now()
		got := r.monitor.Probe(r.ctx)
		t.Logf("probed in %v: %+v", time.Since(began), got)
		if !got.Works || got.Version == "" || got.Accelerator != vmm.TCG || !strings.HasPrefix(got.Cmdline, "tsc_early_khz=") {
			t.Errorf("got %+v", got)
		}
	})
}

func TestProbeFails(t *testing.T) {
	fake := filepath.Join(t.TempDir(), "qemu")
	script := "#!/bin/sh\necho qemu-system-x86_64: it is broken >&2\nexit 1\n"
	if err := os.WriteFile(fake, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ path, reason, remedy string }{
		{"/no/qemu", "/no/qemu", "apt-get install qemu-system-x86"},
		{fake, "cannot make a machine: it is broken", ""},
	} {
		got := qemu.New(qemu.Q35, qemu.Options{Path: test.path}).Probe(t.Context())
		if got.Works || !strings.Contains(got.Reason, test.reason) || got.Remedy != test.remedy {
			t.Errorf("%s: got %+v", test.path, got)
		}
	}
}

func TestProbeTellsWhyItIsNotKVM(t *testing.T) {
	why := errors.New("the processor says no")
	r := newRig(t, qemu.New(qemu.Microvm, qemu.Options{KVM: func(context.Context) error { return why }}))
	if got := r.monitor.Probe(r.ctx); got.Accelerator != vmm.TCG || got.AcceleratorNote != why.Error() {
		t.Errorf("got %+v", got)
	}
}
