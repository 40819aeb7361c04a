package container_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/breakout"
)

// TestBreakOut runs a program that tries whatever we can think of, as the
// image's root and as another user.
func TestBreakOut(t *testing.T) {
	for name, user := range breakout.Users {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "ctrbreak")
			r.build("breaker", breakout.Package)
			breakout.AddSetuid(t, r.rootfs)
			program, err := os.ReadFile(filepath.Join(r.rootfs, "breaker"))
			if err != nil {
				t.Fatal(err)
			}
			r.rev.Function.Command = []string{"/breaker"}
			r.rev.Image.Config.User = user
			inst, _, err := r.start("one")
			if err != nil {
				t.Fatal(err)
			}
			breakout.Check(t, func(path string) (string, error) { return get(r.ctx(), inst, path) }, nil)
			if now, err := os.ReadFile(filepath.Join(r.rootfs, "breaker")); err != nil || !bytes.Equal(now, program) {
				t.Errorf("the image has changed: %v", err)
			}
		})
	}
}

// TestInputIsNotShared: what one instance does to its standard input's open file
// tells another nothing.
func TestInputIsNotShared(t *testing.T) {
	r := newRig(t, "ctrinput")
	r.build("breaker", breakout.Package)
	r.rev.Function.Command = []string{"/breaker"}
	for i, want := range []string{"false", "true", "false"} {
		// The second is asked twice: the flag can be seen where it is set.
		inst, _, err := r.start(fmt.Sprint("one", i))
		if err != nil {
			t.Fatal(err)
		}
		got := "false"
		for range 1 + i%2 {
			if got, err = get(r.ctx(), inst, "/input"); err != nil {
				t.Fatal(err)
			}
		}
		if got != want {
			t.Errorf("instance %d: its input's flag is set: %s, want %s", i, got, want)
		}
	}
}

// TestHostileMountPoints has links in the places of the image that something
// is mounted on. What Prepare refuses comes back behind its back.
func TestHostileMountPoints(t *testing.T) {
	for _, point := range []string{"proc", "sys", "dev", "tmp"} {
		t.Run(point, func(t *testing.T) {
			r := newRig(t, "ctrhostile")
			outside := t.TempDir()
			art, err := r.driver.Prepare(r.ctx(), r.rev)
			if err != nil {
				t.Fatal(err)
			}
			for _, target := range []string{outside, "../../../../../" + outside, "/etc", "/proc/self/root/tmp", "/nowhere"} {
				place := filepath.Join(r.rootfs, point)
				if err := os.Remove(place); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(target, place); err != nil {
					t.Fatal(err)
				}
				if _, err := r.driver.Prepare(r.ctx(), r.rev); faas.KindOf(err) != faas.KindInvalid || !strings.Contains(err.Error(), "/"+point) {
					t.Errorf("Prepare with a link to %s: got %v", target, err)
				}
				wantNoStart(r, art, "/"+point)
			}
			if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
				t.Errorf("outside there is %v, %v", entries, err)
			}
		})
	}
}

// wantNoStart starts and wants an error with words.
func wantNoStart(r *rig, art sandbox.Artifact, words string) {
	r.Helper()
	dir := r.TempDir()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		r.Fatal(err)
	}
	defer null.Close()
	inst, err := r.driver.Start(r.ctx(), art, sandbox.Spec{
		ID: r.host.Node + "-hostile", Revision: r.rev, Dir: dir, Output: null,
		Record: func(any) error { return nil },
	})
	if err == nil {
		r.Errorf("%q starts in %q; want an error about %s", r.rev.Function.Command, r.rev.Image.Config.WorkDir, words)
		if err := inst.Stop(r.ctx()); err != nil {
			r.Error(err)
		}
		return
	}
	if !strings.Contains(err.Error(), words) {
		r.Errorf("got %v, want an error about %s", err, words)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		r.Errorf("left in the instance's folder: %v, %v", left, err)
	}
}

// TestHostileConfigurations has working folders and programs that lead to what
// is not the function's.
func TestHostileConfigurations(t *testing.T) {
	r := newRig(t, "ctrconfig")
	link := func(name, target string) {
		if err := os.Symlink(target, filepath.Join(r.rootfs, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("self", "/proc/self/exe")
	link("init", "/proc/1/exe")
	link("folder", "/proc/self/fd/3")
	for _, c := range []struct{ command, dir, words string }{
		{"/guest", "/proc/self/fd/3", "working folder"},
		{"/guest", "/proc/self/fd/5/../../..", "working folder"},
		{"/guest", "/proc/1/fd/4", "working folder"},
		{"/guest", "/folder", "working folder"},
		{"/guest", "/guest", "working folder"},
		{"/nothing", "/", "/nothing"},
		{"nothing", "/", "not found in PATH"},
		{"/proc", "/", "/proc"},
		{"/init", "/", "/init"},
	} {
		r.rev.Function.Command, r.rev.Image.Config.WorkDir = []string{c.command}, c.dir
		art, err := r.driver.Prepare(r.ctx(), r.rev)
		if err != nil {
			t.Fatal(err)
		}
		wantNoStart(r, art, c.words)
	}
	// The launcher itself, as its function: it has nothing to do, and ends.
	r.rev.Function.Command, r.rev.Image.Config.WorkDir = []string{"/self"}, "/"
	inst, _, err := r.start("self")
	if err == nil {
		t.Error("the launcher as its own function serves")
	}
	if inst != nil {
		if exit := inst.Wait(); exit.Code <= 0 {
			t.Errorf("the launcher as its own function: got %+v", exit)
		}
	}
	r.rev.Function.Command = []string{"/guest"}
	if _, _, err := r.start("after"); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// TestUserBeyondTheRange: an image's user may have a number that no instance
// has.
func TestUserBeyondTheRange(t *testing.T) {
	r := newRig(t, "ctruser")
	r.rev.Image.Config.User = "70000"
	if _, err := r.driver.Prepare(r.ctx(), r.rev); faas.KindOf(err) != faas.KindInvalid || !strings.Contains(err.Error(), "70000") {
		t.Errorf("got %v", err)
	}
}
