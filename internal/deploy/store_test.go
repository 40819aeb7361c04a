package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
)

// crash copies what is on disk, as it would be after a SIGKILL now.
func crash(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "functions")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestACrashAtAnyMomentLeavesOldOrNew copies the folder at each moment of a
// deploy that a collaborator sees, and starts on the copy.
func TestACrashAtAnyMomentLeavesOldOrNew(t *testing.T) {
	r := newRig(t, t.TempDir())
	r.deploy(t, "f", "one")
	r.deploy(t, "f", "two")
	copies := map[string]string{}
	q := request(t, "f", "three", "")
	q.Bundle = &hooked{q.Bundle, func(n int) { copies[fmt.Sprint("upload, part ", n)] = crash(t, r.dir) }, 0}
	r.platform.onTry = func(context.Context) { copies["try"] = crash(t, r.dir) }
	if _, err := r.Deploy(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if len(copies) < 3 {
		t.Fatalf("only %d moments", len(copies))
	}
	copies["switched, not swept"] = unswept(t, r.dir)
	for moment, dir := range copies {
		again := newRig(t, dir)
		want, numbers := "two", []int{1, 2}
		if strings.HasPrefix(moment, "switched") {
			want, numbers = "three", []int{2, 3}
		}
		if got := again.served(t, "f"); got != want {
			t.Errorf("%s: %q is served, want %q", moment, got, want)
		}
		if diff := cmp.Diff(numbers, again.onDisk(t, "f")); diff != "" {
			t.Errorf("%s: deployments on disk:\n%s", moment, diff)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, incomingFolder, "*")); len(left) > 0 {
			t.Errorf("%s: left %q", moment, left)
		}
		if out, err := again.Rollback(t.Context(), "f", true); err != nil || out.Current.Number != numbers[0] && out.Current.Number != numbers[1] {
			t.Errorf("%s: rolled back to %+v, %v", moment, out, err)
		}
		again.close()
	}
}

// hooked calls a function before each Read.
type hooked struct {
	r interface {
		Read(b []byte) (int, error)
	}
	hook func(n int)
	n    int
}

func (h *hooked) Read(b []byte) (int, error) {
	h.n++
	h.hook(h.n)
	return h.r.Read(b[:min(len(b), 700)])
}

// unswept is a copy with the folder of a deployment that was replaced.
func unswept(t *testing.T, dir string) string {
	t.Helper()
	dir = crash(t, dir)
	if err := os.CopyFS(filepath.Join(dir, "f", "1"), os.DirFS(filepath.Join(dir, "f", "2"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestACrashOfADelete(t *testing.T) {
	r := newRig(t, t.TempDir())
	r.deploy(t, "f", "one")
	r.deploy(t, "g", "one")
	if err := os.Remove(filepath.Join(r.dir, "f", recordFile)); err != nil {
		t.Fatal(err)
	}
	again := newRig(t, crash(t, r.dir))
	if got := again.served(t, "f") + again.served(t, "g"); got != "one" {
		t.Errorf("%q is served, want g alone", got)
	}
	if _, err := os.Stat(filepath.Join(again.dir, "f")); !os.IsNotExist(err) {
		t.Errorf("f is left: %v", err)
	}
}

func TestWhatCannotBeReadIsToldAndKept(t *testing.T) {
	for _, c := range []struct {
		name, want string
		spoil      func(dir string) error
	}{
		{"a broken record", "record.json", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, recordFile), []byte("{"), 0o600)
		}},
		{"a missing deployment", "deployment 2", func(dir string) error { return os.RemoveAll(filepath.Join(dir, "2")) }},
		{"a broken function.toml", "function.toml:1", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "2", "function.toml"), []byte("image ="), 0o600)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, t.TempDir())
			r.deploy(t, "f", "one")
			r.deploy(t, "f", "two")
			r.deploy(t, "g", "other")
			dir := crash(t, r.dir)
			if err := c.spoil(filepath.Join(dir, "f")); err != nil {
				t.Fatal(err)
			}
			again := newRig(t, dir)
			st, ok := again.platform.catalog.Snapshot().Status("f")
			if !ok || st.Err == nil || !strings.Contains(st.Err.Error(), c.want) || !strings.Contains(st.Err.Error(), "deploy") {
				t.Fatalf("status %+v, want an error with %q and a remedy", st, c.want)
			}
			if got := again.served(t, "g"); got != "other" {
				t.Errorf("the other function: %q", got)
			}
			if _, err := os.Stat(filepath.Join(dir, "f", "1", bundleFolder, "program")); err != nil {
				t.Errorf("what can still be read was removed: %v", err)
			}
			out := again.deploy(t, "f", "three")
			if got := again.served(t, "f"); got != "three" || out.Current.Number <= 2 {
				t.Errorf("after a deploy %q is served: %+v", got, out)
			}
		})
	}
}

func TestImagesStayAsTheyWereDeployed(t *testing.T) {
	r := newRig(t, t.TempDir())
	r.deploy(t, "f", "one")
	store := r.Deployer.opts.Store
	f := store.get("f")
	rev := f.revisions[f.Current]
	rootfs := t.TempDir()
	rev.Image = faas.Image{Digest: "sha256:kept", Rootfs: rootfs}
	inner := store.Images(r.images)
	if img, err := inner.Resolve(t.Context(), rev.function); err != nil || img.Digest != "sha256:kept" {
		t.Errorf("bound to %+v, %v; want the image of the deploy", img, err)
	}
	if paths := inner.Inputs(rev.function); len(paths) > 0 {
		t.Errorf("%q are watched", paths)
	}
	if err := os.Remove(rootfs); err != nil {
		t.Fatal(err)
	}
	if img, err := inner.Resolve(t.Context(), rev.function); err != nil || img.Digest == "sha256:kept" {
		t.Errorf("bound to %+v, %v, which is not in the store any more", img, err)
	}
	if kept := store.KeptImages(); len(kept) != 1 || kept[0].Rootfs != rootfs {
		t.Errorf("kept are %+v", kept)
	}
}

// TestAFullDisk has a file system of 1 MiB for what is deployed.
func TestAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		if errors.Is(err, unix.EPERM) {
			t.Skip("only root may mount a file system that is small enough")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	r := newRig(t, filepath.Join(dir, "functions"))
	r.Deployer.opts.Limits.Bytes = 1 << 30
	r.deploy(t, "f", "small")
	for range 3 {
		_, err := r.Deploy(t.Context(), request(t, "f", strings.Repeat("big", 1<<20), ""))
		if faas.KindOf(err) != faas.KindBusy || !strings.Contains(err.Error(), "no space left") {
			t.Fatalf("%v, want one of kind busy that says why", err)
		}
	}
	// What did not fit has left no trace: this fits.
	r.deploy(t, "f", strings.Repeat("fits", 1<<17))
	r.close()
}
