package gvisor

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/sandbox"
)

func TestLinkage(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	build := func(name, cgo string, flags ...string) string {
		out := filepath.Join(dir, name)
		cmd := exec.Command("go", append(append([]string{"build", "-o", out}, flags...), source)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo, "GOFLAGS=")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, text)
		}
		return out
	}
	static := build("static", "0")
	// A position-independent one names an interpreter, with no C in it.
	dynamic := build("dynamic", "0", "-buildmode=pie")
	cgo := build("cgo", "1")
	if h := linkage(static); h != nil {
		t.Errorf("a static binary: got %+v", h)
	}
	if h := linkage(dynamic); h == nil || !strings.Contains(h.reason, "dynamically linked") || !strings.Contains(h.remedy, "CGO_ENABLED=0") {
		t.Errorf("a dynamic binary: got %+v", h)
	}
	if h := linkage(source); h != nil {
		t.Errorf("what is no binary: got %+v", h)
	}
	for path, want := range map[string]bool{static: false, cgo: true, source: false} {
		if got := usesCgo(path); got != want {
			t.Errorf("usesCgo(%s): got %v", filepath.Base(path), got)
		}
	}
}

func TestImpossible(t *testing.T) {
	for _, c := range []struct {
		name   string
		option Options
		uid    int
		reason string
	}{
		{"default", Options{}, 1000, ""},
		{"host network and root", Options{HostNetwork: true}, 0, ""},
		{"host network and a user", Options{HostNetwork: true}, 1000, "root only"},
	} {
		got := New(sandbox.Host{Node: "gtest"}, c.option).impossible(c.uid)
		if (got == nil) != (c.reason == "") || got != nil && (!strings.Contains(got.reason, c.reason) || got.remedy == "") {
			t.Errorf("%s: got %+v, want %q", c.name, got, c.reason)
		}
	}
}
