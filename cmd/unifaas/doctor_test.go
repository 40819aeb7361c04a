package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/unifaas/unifaas/internal/config"
	"github.com/unifaas/unifaas/internal/sandbox"
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
