package oci

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/unifaas/unifaas/internal/faas"
)

func rootfs(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLookupUser(t *testing.T) {
	dir := rootfs(t, map[string]string{
		"etc/passwd": "root:x:0:0::/:/bin/sh\nbad:x:what:0\nshort\nweb:x:33:44:w:/:/x\n",
		"etc/group":  "root:x:0:\nstaff:x:50:web\n",
	})
	for _, c := range []struct {
		user     string
		uid, gid uint32
		err      string
	}{
		{"", 0, 0, ""}, {"web", 33, 44, ""}, {"33", 33, 44, ""}, {"web:staff", 33, 50, ""}, {"web:7", 33, 7, ""},
		{"1000", 1000, 0, ""}, {"1000:staff", 1000, 50, ""}, {"web:", 33, 44, ""},
		{"nobody", 0, 0, `"nobody" is not in the image`}, {"web:nogroup", 0, 0, `group "nogroup"`},
		{"bad", 0, 0, "no number"}, {"-1", 0, 0, "use a number"}, {"4294967296", 0, 0, "use a number"},
	} {
		got, err := lookupUser(dir, c.user)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: got %v, want an error with %q", c.user, err, c.err)
			}
			continue
		}
		if err != nil || got.UID != c.uid || got.GID != c.gid {
			t.Errorf("%q: got %d:%d, %v; want %d:%d", c.user, got.UID, got.GID, err, c.uid, c.gid)
		}
	}
}

// TestPasswdIsHostile: an image may hold anything in the place of the file.
func TestPasswdIsHostile(t *testing.T) {
	outside := rootfs(t, map[string]string{"passwd": "evil:x:0:0::\n"})
	for name, make := range map[string]func(path string) error{
		"FIFO":   func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"escape": func(p string) error { return os.Symlink(outside+"/passwd", p) },
		"folder": func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		dir := rootfs(t, map[string]string{"etc/x": ""})
		if err := make(filepath.Join(dir, "etc/passwd")); err != nil {
			t.Fatal(err)
		}
		if u, err := lookupUser(dir, "evil"); err == nil {
			t.Errorf("%s: got %+v", name, u)
		}
	}
}

func FuzzRows(f *testing.F) {
	f.Add("root:x:0:0\n", "root")
	f.Add("::::", "")
	f.Fuzz(func(t *testing.T, text, key string) {
		row, err := scanRows(strings.NewReader(text), key, 2)
		if err == nil && row != nil && row[0] != key && row[2] != key {
			t.Errorf("row %q does not name %q", row, key)
		}
	})
}

func revision() *faas.Revision {
	return &faas.Revision{
		Function: faas.Function{Ref: faas.NewRef("f"), Command: []string{"/app", "-v"}, Env: map[string]string{"A": "b"}, Limits: faas.Limits{Pids: 9}},
		Image:    faas.Image{Config: faas.ImageConfig{User: "5:6", WorkDir: "/w"}},
	}
}

func TestSpec(t *testing.T) {
	s, err := Spec(revision(), Options{Rootfs: "/r", Hostname: "h", SharedMemory: 4096, Tmp: specs.Mount{Type: "tmpfs", Source: "tmpfs"}})
	if err != nil {
		t.Fatal(err)
	}
	p := s.Process
	if !slices.Equal(p.Args, []string{"/app", "-v"}) || !slices.Contains(p.Env, "A=b") || p.Cwd != "/w" || p.User.UID != 5 || p.User.GID != 6 {
		t.Errorf("process: got %+v", p)
	}
	if !p.NoNewPrivileges || len(p.Capabilities.Bounding)+len(p.Capabilities.Effective)+len(p.Capabilities.Permitted) > 0 {
		t.Errorf("privileges: got %+v", p)
	}
	if !s.Root.Readonly || s.Root.Path != "/r" || s.Hostname != "h" {
		t.Errorf("root: got %+v of %q", s.Root, s.Hostname)
	}
	if !slices.ContainsFunc(p.Rlimits, func(l specs.POSIXRlimit) bool { return l.Type == "RLIMIT_NPROC" && l.Hard == 9 }) {
		t.Errorf("rlimits: got %+v", p.Rlimits)
	}
	for _, m := range s.Mounts {
		if m.Type == "tmpfs" && m.Destination != "/tmp" && !slices.ContainsFunc(m.Options, func(o string) bool { return strings.HasPrefix(o, "size=") }) {
			t.Errorf("%s is unbounded", m.Destination)
		}
		top := "/" + strings.Split(m.Destination, "/")[1]
		if !slices.Contains(MountPoints(), top) {
			t.Errorf("%s is mounted, but %s is not among the mount points", m.Destination, top)
		}
	}
}

func TestSpecErrors(t *testing.T) {
	rev := revision()
	rev.Function.Command = nil
	if _, err := Spec(rev, Options{}); faas.KindOf(err) != faas.KindInvalid {
		t.Errorf("without a command: got %v", err)
	}
	rev = revision()
	rev.Image.Config.User = "nobody"
	if _, err := Spec(rev, Options{}); faas.KindOf(err) != faas.KindInvalid || !strings.Contains(err.Error(), `function "f"`) {
		t.Errorf("with an unknown user: got %v", err)
	}
}
