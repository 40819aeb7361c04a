package main

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/config"
	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/image/elftest"
)

// put writes a file of a test, and the folders above it.
func put(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o755)); err != nil { //nolint:gosec // programs
		t.Fatal(err)
	}
	return path
}

// TestBuildBringsTheKernel makes an image for a kernel that was named.
func TestBuildBringsTheKernel(t *testing.T) {
	dir := t.TempDir()
	loader := put(t, filepath.Join(dir, "loader.elf"), elftest.File{Machine: elf.EM_X86_64, Payload: "\x00OSv v0.57.0-9\n\x00  --rootfs=arg\x00"}.Bytes(t))
	put(t, filepath.Join(dir, "f", "function.toml"), []byte("image = \"dir:./root\"\ncommand = [\"/f\"]\n"))
	put(t, filepath.Join(dir, "f", "root", "f"), elftest.File{Machine: elf.EM_X86_64, Type: elf.ET_DYN}.Bytes(t))
	out := filepath.Join(dir, "out", "disk")
	if err := os.Mkdir(filepath.Dir(out), 0o755); err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	c := imageBuildCmd{
		output: output{JSON: true}, Sandboxes: config.Sandboxes{Assets: config.Assets{OSv: loader}}, Sandbox: "osv", Output: out,
		Address: netip.MustParsePrefix("10.0.2.15/24"), Gateway: netip.MustParseAddr("10.0.2.2"), Folder: filepath.Join(dir, "f"),
	}
	if err := c.Run(&env{ctx: t.Context(), stdout: &stdout, dirs: config.Dirs{StateDir: filepath.Join(dir, "state")}}); err != nil {
		t.Fatal(err)
	}
	var b built
	if err := json.Unmarshal(stdout.Bytes(), &b); err != nil {
		t.Fatal(err)
	}
	if want := []string{out, out + ".kernel"}; b.Kernel != want[1] || !slices.Equal(b.Files, want) || !strings.Contains(b.Cmdline, "10.0.2.15,255.255.255.0") {
		t.Errorf("got %+v", b)
	}
	if left, err := os.ReadDir(filepath.Dir(out)); err != nil || len(left) != 2 {
		t.Errorf("beside the output: %v, %v", left, err)
	}
}

// TestTake moves what was made, or leaves nothing.
func TestTake(t *testing.T) {
	dir := t.TempDir()
	work, out := filepath.Join(dir, "work"), filepath.Join(dir, "out")
	c := imageBuildCmd{Output: out, Address: netip.MustParsePrefix("10.0.2.15/24"), Gateway: netip.MustParseAddr("10.0.2.2")}
	made := func() *guest.Image {
		return &guest.Image{Kernel: put(t, filepath.Join(work, "k.elf"), []byte("changed")), Disks: []guest.Disk{
			{Path: put(t, filepath.Join(work, "1"), []byte("one"))}, {Path: put(t, filepath.Join(work, "2"), []byte("two"))},
		}}
	}
	b, err := c.take(made(), work)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(b.Kernel); b.Kernel != out+".kernel" || err != nil || string(text) != "changed" {
		t.Errorf("a changed kernel: got %+v, %q, %v", b, text, err)
	}
	kept := made()
	kept.Kernel = put(t, filepath.Join(dir, "vmlinuz"), nil)
	if b, err := c.take(kept, work); err != nil || b.Kernel != kept.Kernel {
		t.Errorf("a kernel that is nobody's copy: got %+v, %v", b, err)
	}
	if err := errors.Join(os.Remove(out), os.Remove(out+".2")); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(out+".2", "in", "the", "way"), nil)
	if _, err := c.take(made(), work); err == nil || !strings.Contains(err.Error(), out+".2") {
		t.Errorf("a folder in the way of the second file: got %v", err)
	}
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the first file was left: %v", err)
	}
}
