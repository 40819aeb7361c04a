package firecracker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/internal/vmm"
)

func TestProbe(t *testing.T) {
	r := newRig(t, false, script{})
	want := vmm.Capabilities{
		Works: true, Version: "1.16.1", Accelerator: vmm.KVM, Vsock: true, Boots: []vmm.Boot{vmm.BootLinux, vmm.BootPVH}, ELFOnly: true,
	}
	if diff := cmp.Diff(want, r.monitor.Probe(soon(t))); diff != "" {
		t.Errorf("capabilities (-want +got):\n%s", diff)
	}
}

func TestProbeSaysWhyNot(t *testing.T) {
	old := newRig(t, false, script{Version: "1.3.0"})
	odd := newRig(t, false, script{Version: "x"})
	good := newRig(t, false, script{})
	t.Setenv("PATH", t.TempDir())
	for _, c := range []struct {
		want    string
		options Options
	}{
		{"no firecracker on PATH", Options{}},
		{"which the configuration names", Options{Path: "/gone"}},
		{"1.3.0 is too old", old.monitor.options},
		{"no version of Firecracker", odd.monitor.options},
		{"needs KVM: it hangs", Options{Path: good.monitor.options.Path, KVM: func(context.Context) error { return errors.New("it hangs") }}},
	} {
		got := New(c.options).Probe(soon(t))
		if got.Works || !strings.Contains(got.Reason, c.want) || got.Remedy == "" {
			t.Errorf("got %+v, want %q", got, c.want)
		}
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"firecracker-v1.16.1-x86_64", "jailer-v1.16.1-x86_64", "other"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("firecracker-v1.16.1-x86_64", filepath.Join(dir, "firecracker")); err != nil {
		t.Fatal(err)
	}
	jailer := filepath.Join(dir, "jailer-v1.16.1-x86_64")
	if os.Geteuid() != 0 {
		jailer = ""
	}
	release := programs{filepath.Join(dir, "firecracker-v1.16.1-x86_64"), jailer}
	t.Setenv("PATH", dir)
	t.Setenv("UNIFAAS_FIRECRACKER", "")
	t.Setenv("FIRECRACKER_EXE", "")
	find := func(path string, want programs) {
		t.Helper()
		got, err := New(Options{Path: path}).find()
		if err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
	find("", release)
	t.Setenv("FIRECRACKER_EXE", filepath.Join(dir, "other"))
	find("", programs{firecracker: filepath.Join(dir, "other")})
	t.Setenv("UNIFAAS_FIRECRACKER", filepath.Join(dir, "firecracker"))
	find("", release)
	find(filepath.Join(dir, "other"), programs{firecracker: filepath.Join(dir, "other")})
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]bool{"1.4.0": false, "1.12.0": true, "1.17.0-dev": true, "2.0": true, "0.25.2": false} {
		if v, err := parseVersion(text); err != nil || v.has(pvh) != want {
			t.Errorf("%s: got %+v, %v", text, v, err)
		}
	}
	for _, text := range []string{"", "1", "a.b", "-1.2", "1."} {
		if v, err := parseVersion(text); err == nil {
			t.Errorf("%q: got %+v", text, v)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add("2026-11-28T13:00:46.672033367 [t:main:INFO] Running Firecracker v1.16.1\n")
	f.Add("2021-01-01T00:00:00.0 [anonymous-instance:fc_vcpu 0:ERROR:src/vmm/src/vstate/vcpu/mod.rs:517] Received KVM_EXIT_INTERNAL_ERROR signal")
	f.Add(" [")
	f.Add("] [ERROR] x")
	f.Fuzz(func(t *testing.T, text string) {
		l := parseLine(text)
		if strings.ContainsAny(l.text, "\n\r\x00\x1b") || strings.TrimSpace(l.text) != l.text {
			t.Errorf("%q: got %+v", text, l)
		}
		var w words
		w.add(l)
		e := classify(0, true, w)
		if e.Reboot == (w.failure != "") {
			t.Errorf("%q: got %+v of %+v", text, e, w)
		}
	})
}
