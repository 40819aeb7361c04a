package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/config"
	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

// TestDoctorIsConfiguredAsUp reads the operator's choices from each place.
func TestDoctorIsConfiguredAsUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "unifaas.toml")
	if err := os.WriteFile(file, []byte("listen = \"127.0.0.1:1\"\n[gvisor]\nnetwork = \"host\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("UNIFAAS_CONFIG", filepath.Join(t.TempDir(), "none.toml"))
	for _, c := range []struct {
		name, env string
		args      []string
		want      string
	}{
		{"default", "", []string{"--config=" + os.DevNull}, "netstack"},
		{"file", "", []string{"--config=" + file}, "host"},
		{"environment", "netstack", []string{"--config=" + file}, "netstack"},
		{"flag", "netstack", []string{"--config=" + file, "--gvisor-network=host"}, "host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.env != "" {
				t.Setenv("UNIFAAS_GVISOR_NETWORK", c.env)
			}
			for _, command := range []string{"up", "doctor"} {
				var cmd cli
				args := append([]string{command}, c.args...)
				parser, err := newParser(&cmd, args)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := parser.Parse(args); err != nil {
					t.Fatal(err)
				}
				got := map[string]config.Sandboxes{"up": cmd.Up.Sandboxes, "doctor": cmd.Doctor.Sandboxes}[command]
				if got.GVisor.Network != c.want {
					t.Errorf("%s: network %q, want %q", command, got.GVisor.Network, c.want)
				}
			}
		})
	}
}

func TestDoctorTellsOfNode(t *testing.T) {
	t.Setenv("PATH", "")
	got := examineNode()
	if got.Name != "node" || got.Kind != control.KindProgram || got.Works || got.Reason == "" || got.Remedy == "" {
		t.Errorf("without node: %+v", got)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "node"), nil, 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	if got := examineNode(); !got.Works || got.Reason != "" || !strings.Contains(got.Detail, dir) {
		t.Errorf("with node: %+v", got)
	}
}

// TestDoctorCountsSandboxesOnly: a machine with Node and no sandbox is one on
// which nothing works.
func TestDoctorCountsSandboxesOnly(t *testing.T) {
	for name, path := range map[string]string{"without node": "", "with node": os.Getenv("PATH")} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PATH", path)
			file := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			e := &env{ctx: t.Context(), stdout: &out, dirs: config.Dirs{StateDir: file, RunDir: file}}
			var quiet errQuiet
			if err := (&doctorCmd{output: output{JSON: true}}).Run(e); !errors.As(err, &quiet) {
				t.Errorf("doctor ended with %v", err)
			}
			var found []control.Sandbox
			if err := json.Unmarshal(out.Bytes(), &found); err != nil || found[len(found)-1].Name != "node" {
				t.Errorf("doctor printed %s: %v", out.Bytes(), err)
			}
		})
	}
}

// A closing is a driver that keeps something for the next instance.
type closing struct {
	*sandboxtest.Fake
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return nil
}

func TestDoctorKeepsNothingOfDrivers(t *testing.T) {
	d := &closing{Fake: sandboxtest.NewFake(sandboxtest.FakeOptions{Name: "container"})}
	examine(t.Context(), []sandbox.Driver{d})
	if !d.closed {
		t.Error("the driver is not closed")
	}
}

// TestWaitingRoom makes and leaves room beside a platform and another doctor.
func TestWaitingRoom(t *testing.T) {
	base := t.TempDir()
	dirs := config.Dirs{StateDir: filepath.Join(base, "a", "state"), RunDir: filepath.Join(base, "b", "run")}
	host, leave, err := waitingRoom(dirs)
	if err != nil {
		t.Fatal(err)
	}
	for inside, dir := range map[string]string{host.StateDir: dirs.StateDir, host.RunDir: dirs.RunDir} {
		if filepath.Dir(inside) != dir {
			t.Errorf("%s is not in %s", inside, dir)
		}
	}
	var other sandbox.Host
	other, leaveOther, err := waitingRoom(dirs)
	if err != nil || other.StateDir == host.StateDir {
		t.Errorf("a second doctor: %+v, %v", other, err)
	}
	if err := leave(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(other.StateDir); err != nil {
		t.Errorf("the first doctor took away the second's room: %v", err)
	}
	if err := leaveOther(); err != nil {
		t.Error(err)
	}
	// What the first made, and could not remove, holds nothing of anybody.
	for _, dir := range []string{dirs.StateDir, dirs.RunDir} {
		if left, err := os.ReadDir(dir); err == nil && len(left) > 0 {
			t.Errorf("left %v", left)
		}
	}
}
