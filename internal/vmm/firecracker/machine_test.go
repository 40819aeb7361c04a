package firecracker

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/host/process"
	"github.com/unifaas/unifaas/internal/vmm"
)

// TestExits: each way in which a Firecracker ends that has run a guest.
func TestExits(t *testing.T) {
	for _, c := range []struct {
		name string
		act  act
		want vmm.Exit
	}{
		{"reset", act{Exit: status(0), Log: []string{"INFO Vmm is stopping."}}, vmm.Exit{Reboot: true, Reason: "the guest has reset its machine"}},
		{
			"reset after errors of a device", act{Exit: status(0), Log: []string{"ERROR Failed to write to tap: no", "INFO Vmm is stopping."}},
			vmm.Exit{Reboot: true, Reason: "the guest has reset its machine"},
		},
		{"internal error", act{Exit: status(0), Log: []string{"ERROR Received KVM_EXIT_INTERNAL_ERROR signal", "INFO Vmm is stopping."}},
			vmm.Exit{Reason: "firecracker could not go on running the guest: Received KVM_EXIT_INTERNAL_ERROR signal"}},
		{"internal error, as told since 1.6", act{Exit: status(1), Log: []string{
			"ERROR Failure during vcpu run: Bad address (os error 14)", "ERROR RunWithApiError error: MicroVM stopped with an error: GenericError",
		}}, vmm.Exit{Code: 1, Reason: "firecracker could not go on running the guest: Failure during vcpu run: Bad address (os error 14)"}},
		{"triple fault", act{Exit: status(0), Log: []string{"INFO Received KVM_EXIT_SHUTDOWN signal"}},
			vmm.Exit{Reboot: true, Reason: "the guest's processor was reset by a triple fault"}},
		{"triple fault, newer", act{Exit: status(1), Log: []string{"ERROR Unexpected exit reason on vcpu run: Shutdown"}},
			vmm.Exit{Code: 1, Reboot: true, Reason: "the guest's processor was reset by a triple fault"}},
		{"system call", act{Exit: status(148), Log: []string{"ERROR Shutting down VM after intercepting a bad syscall (42)."}},
			vmm.Exit{Code: 148, Reason: "firecracker exited with status 148: it made a system call that its filter forbids: Shutting down VM after intercepting a bad syscall (42)."}},
		{"silent", act{Exit: status(3)}, vmm.Exit{Code: 3, Reason: "firecracker exited with status 3; its last words: Running Firecracker v1.16.1"}},
		{"signal", act{Signal: 9, Log: []string{"ERROR Firecracker panicked at 'x'"}},
			vmm.Exit{Code: -1, Signal: 9, Reason: "firecracker could not go on running the guest: Firecracker panicked at 'x'"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, false, script{Started: c.act})
			m := r.start()
			got := m.Wait()
			if time.Since(got.At) > time.Minute {
				t.Errorf("it ended at %v", got.At)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.IgnoreFields(vmm.Exit{}, "At")); diff != "" {
				t.Errorf("exit (-want +got):\n%s", diff)
			}
			<-m.Done()
			r.nothingLeft()
		})
	}
}

// TestFlood: a guest makes Firecracker say more than anybody reads.
func TestFlood(t *testing.T) {
	lines := slices.Repeat([]string{"WARN " + strings.Repeat("x", 4000)}, 500)
	r := newRig(t, false, script{Started: act{Log: append(lines, "ERROR Failure during vcpu run: x"), Delay: 100 * time.Millisecond, Exit: status(0)}})
	if got := r.start().Wait(); got.Code != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestKill(t *testing.T) {
	both(t, func(t *testing.T, jailed bool) {
		r := newRig(t, jailed, script{})
		m := r.start()
		for range 2 {
			if err := m.Kill(soon(t)); err != nil {
				t.Error(err)
			}
		}
		if e := m.Wait(); e.Signal != 9 || e.Reboot {
			t.Errorf("got %+v", e)
		}
		r.nothingLeft()
	})
}

func TestPauseResume(t *testing.T) {
	r := newRig(t, false, script{})
	m := r.start()
	ctx := soon(t)
	for _, step := range []func(context.Context) error{m.Resume, m.Pause, m.Pause, m.Resume, m.Resume} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, line := range r.asked() {
		if strings.HasPrefix(line, "PATCH") {
			got = append(got, line)
		}
	}
	if diff := cmp.Diff([]string{`PATCH /vm {"state":"Paused"}`, `PATCH /vm {"state":"Resumed"}`}, got); diff != "" {
		t.Errorf("what was asked (-want +got):\n%s", diff)
	}
}

func TestEndsWhilePausing(t *testing.T) {
	r := newRig(t, false, script{On: map[string]act{"PATCH /vm": {Exit: status(1), Log: []string{"ERROR no more"}}}})
	err := r.start().Pause(soon(t))
	if err == nil || !strings.Contains(err.Error(), "firecracker exited with status 1: no more") {
		t.Errorf("got %v", err)
	}
}

func TestSnapshotAndRestore(t *testing.T) {
	both(t, func(t *testing.T, jailed bool) {
		kept := t.TempDir()
		r := newRig(t, jailed, script{})
		r.full()
		m := r.start()
		if err := m.Snapshot(soon(t), kept); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{stateName, memoryName} {
			info, err := os.Stat(filepath.Join(kept, name))
			if err != nil || info.Mode() != 0o444 {
				t.Errorf("%s: got %v, %v", name, info, err)
			}
		}
		if err := m.Snapshot(soon(t), kept); err == nil || !strings.Contains(err.Error(), "not empty") {
			t.Errorf("into the same folder: got %v", err)
		}
		for range 2 {
			r := newRig(t, jailed, script{})
			r.full()
			r.config.UID, r.config.GID = ordinary+1, ordinary+1
			r.config.NICs[0].Tap = "tap7"
			m, err := r.monitor.Restore(soon(t), r.config, kept)
			if err != nil {
				t.Fatal(err)
			}
			r.endLater(m)
			want := []string{
				`GET /version`,
				`PUT /snapshot/load {"snapshot_path":"state","mem_backend":{"backend_type":"File","backend_path":"memory"},"resume_vm":true,` +
					`"network_overrides":[{"iface_id":"eth0","host_dev_name":"tap7"},{"iface_id":"eth1","host_dev_name":"tap1"}]}`,
			}
			if diff := cmp.Diff(want, r.asked()[1:]); diff != "" {
				t.Errorf("what was asked (-want +got):\n%s", diff)
			}
		}
	})
}

func TestSnapshotFails(t *testing.T) {
	for _, happens := range []act{{Status: 400, Fault: "no room"}, {Exit: status(1)}} {
		kept := t.TempDir()
		r := newRig(t, false, script{On: map[string]act{"PUT /snapshot/create": happens}})
		m := r.start()
		if err := m.Snapshot(soon(t), kept); err == nil {
			t.Error("it was kept")
		}
		if entries, err := os.ReadDir(kept); err != nil || len(entries) > 0 {
			t.Errorf("left in the folder: %v, %v", entries, err)
		}
		if happens.Exit == nil {
			if last := r.asked()[len(r.asked())-1]; last != `PATCH /vm {"state":"Resumed"}` {
				t.Errorf("the last request is %q", last)
			}
		}
	}
}

func TestRestoreFails(t *testing.T) {
	both(t, func(t *testing.T, jailed bool) {
		r := newRig(t, jailed, script{Version: "1.11.0", On: map[string]act{"PUT /snapshot/load": {Status: 400, Fault: "Load snapshot error: no"}}})
		r.config.NICs = []vmm.NIC{{Tap: "tap0"}}
		if _, err := r.monitor.Restore(soon(t), r.config, t.TempDir()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("of an empty folder: got %v", err)
		}
		r.nothingLeft()
		kept := t.TempDir()
		r.write(kept, stateName, "state")
		r.write(kept, memoryName, "memory")
		var refused *vmm.APIError
		if _, err := r.monitor.Restore(soon(t), r.config, kept); !errors.As(err, &refused) || refused.Status != 400 {
			t.Errorf("got %v", err)
		}
		if last := r.asked()[len(r.asked())-1]; strings.Contains(last, "network_overrides") {
			t.Errorf("1.11 was asked %s", last)
		}
		r.nothingLeft()
	})
}

func TestRecover(t *testing.T) {
	both(t, func(t *testing.T, jailed bool) {
		r := newRig(t, jailed, script{})
		first := r.start()
		id := first.Process()
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		if e := first.Wait(); e.Reason != "the machine was let go" {
			t.Errorf("the first: got %+v", e)
		}
		m, err := r.monitor.Recover(soon(t), r.config.Dir, id)
		if err != nil {
			t.Fatal(err)
		}
		r.endLater(m)
		if m.Process() != id {
			t.Errorf("got process %v, want %v", m.Process(), id)
		}
		if err := m.Pause(soon(t)); err != nil {
			t.Error(err)
		}
		if err := m.Kill(soon(t)); err != nil {
			t.Error(err)
		}
		r.nothingLeft()
		if _, err := r.monitor.Recover(soon(t), r.config.Dir, id); !errors.Is(err, process.ErrGone) {
			t.Errorf("after its end: got %v", err)
		}
	})
}

// TestRecoverGone: the machine has ended, or was never known, while nobody
// was there.
func TestRecoverGone(t *testing.T) {
	both(t, func(t *testing.T, jailed bool) {
		for _, known := range []bool{true, false} {
			r := newRig(t, jailed, script{})
			m := r.start()
			id := m.Process()
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			other, err := process.HoldAgain(id)
			if err != nil {
				t.Fatal(err)
			}
			if err := other.Signal(9); err != nil {
				t.Fatal(err)
			}
			other.Wait()
			other.Close()
			if !known {
				id = process.Identity{}
			}
			if _, err := r.monitor.Recover(soon(t), r.config.Dir, id); !errors.Is(err, process.ErrGone) {
				t.Errorf("got %v", err)
			}
			r.nothingLeft()
		}
	})
}

func TestVsock(t *testing.T) {
	both(t, func(t *testing.T, jailed bool) {
		r := newRig(t, jailed, script{})
		r.config.Vsock = 3
		d := r.start().(vmm.Vsocker)
		conn, err := d.DialVsock(soon(t), 7)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "world"); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len("hello world"))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello world" {
			t.Errorf("got %q, %v", got, err)
		}
		if _, err := d.DialVsock(soon(t), 1); !errors.Is(err, errNoListener) {
			t.Errorf("where nobody listens: got %v", err)
		}
		if _, err := d.DialVsock(soon(t), 8); err == nil || !strings.Contains(err.Error(), "longer than") {
			t.Errorf("nonsense: got %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if _, err := d.DialVsock(ctx, 9); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no answer: got %v", err)
		}
	})
}

// TestListenVsock has the fake dial a port of the host's, as a guest would, of one
// listener and then of the one that comes after a crash of the platform.
func TestListenVsock(t *testing.T) {
	both(t, func(t *testing.T, jailed bool) {
		r := newRig(t, jailed, script{})
		r.config.Vsock = 3
		m := r.start()
		d := m.(vmm.Vsocker)
		for _, run := range []string{"first", "second"} {
			l, err := d.ListenVsock(5)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() }) // nothing of the first, either, is to be in the second's way
			conn, err := d.DialVsock(soon(t), 10)
			if err != nil {
				t.Fatal(err)
			}
			guest, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(guest)
			if string(text) != "from the guest" || err != nil {
				t.Errorf("%s: got %q, %v", run, text, err)
			}
			guest.Close()
			conn.Close()
		}
		if err := m.Kill(soon(t)); err != nil {
			t.Fatal(err)
		}
		if _, err := d.ListenVsock(5); err == nil || !strings.Contains(err.Error(), "vsock port 5") {
			t.Errorf("of a machine that has ended: got %v", err)
		}
	})
}

// TestVsockOfAnother: what is in a jail can be replaced by what is in it, by the way
// to a socket outside, too.
func TestVsockOfAnother(t *testing.T) {
	r := newRig(t, false, script{})
	r.config.Vsock = 3
	m := r.start()
	outside := filepath.Join(t.TempDir(), "outside.sock")
	l, err := net.Listen("unix", outside)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	path := m.(*machine).home.path(vsockName)
	if err := errors.Join(os.Remove(path), os.Symlink(outside, path)); err != nil {
		t.Fatal(err)
	}
	if conn, err := m.(vmm.Vsocker).DialVsock(soon(t), 7); err == nil {
		conn.Close()
		t.Error("it has dialled the socket outside")
	} else if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
}

// TestManyStarts: starts leave no descriptor.
func TestManyStarts(t *testing.T) {
	r := newRig(t, false, script{})
	once := func() {
		m, err := r.monitor.Start(soon(t), r.config)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(m.Kill(soon(t)), m.Close()); err != nil {
			t.Fatal(err)
		}
	}
	once()
	before := descriptors(t)
	for range 5 {
		once()
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
