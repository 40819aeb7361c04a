package osv

import (
	"debug/elf"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/assets"
	"github.com/unifaas/unifaas/internal/guest/made"
	"github.com/unifaas/unifaas/internal/image/elftest"
	"github.com/unifaas/unifaas/internal/vmm"
)

// fakeLoader writes what has a kernel's form.
func fakeLoader(t *testing.T, payload string) string {
	t.Helper()
	dir := t.TempDir()
	put(t, dir, loaderFile, elftest.File{Machine: elf.EM_X86_64, Payload: payload}.Bytes(t))
	return filepath.Join(dir, loaderFile)
}

const speaks = "\x00OSv v0.57.0-9\n\x00  --rootfs=arg\x00"

func newSystem(t *testing.T, loader string) *System {
	t.Helper()
	return NewSystem(t.TempDir(), assets.NewFinder(Assets(), loader, assets.NewStore(t.TempDir())))
}

func revision(t *testing.T) *faas.Revision {
	t.Helper()
	rootfs := t.TempDir()
	put(t, rootfs, "f", elftest.File{Machine: elf.EM_X86_64, Type: elf.ET_DYN}.Bytes(t))
	return &faas.Revision{
		Function: faas.Function{Ref: faas.NewRef("f"), Command: []string{"f", "a b"}, Env: map[string]string{"A": "1", "PATH": "/bin:/"}},
		Image:    faas.Image{Digest: "sha256:1", Rootfs: rootfs, Config: faas.ImageConfig{WorkDir: "/work"}},
	}
}

func TestPrepare(t *testing.T) {
	loader := fakeLoader(t, speaks)
	s := newSystem(t, loader)
	rev := revision(t)
	images := make([]*guest.Image, 4)
	var wg sync.WaitGroup
	for i := range images {
		wg.Go(func() {
			var err error
			if images[i], err = s.Prepare(t.Context(), rev, q35); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	image := images[0]
	if image.Boot != vmm.BootPVH || image.Agent || len(image.Disks) != 1 || image.Disks[0].Private || image.Disks[0].Path != images[3].Disks[0].Path || image.Memory > 32<<20 {
		t.Errorf("got %+v", image)
	}
	if raw, err := os.ReadFile(image.Disks[0].Path); err != nil || len(contents(t, raw)) != 2 {
		t.Errorf("disk: %v", err)
	}
	c := network
	c.Env, c.Dir, c.Argv = rev.Environ(), "/work", []string{"/f", "a b"}
	if got := image.Cmdline(guest.Instance{Guest: c.Address, Gateway: c.Gateway}); got != c.Line() {
		t.Errorf("command line: got %q, want %q", got, c.Line())
	}
	// Another kernel in the same place is another image; what was prepared boots
	// the one that it was prepared for.
	before, err := os.ReadFile(image.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(loader, elftest.File{Machine: elf.EM_X86_64, Payload: speaks + "new"}.Bytes(t), 0o600); err != nil {
		t.Fatal(err)
	}
	next, err := s.Prepare(t.Context(), rev, q35)
	if err != nil {
		t.Fatal(err)
	}
	if next.Kernel == image.Kernel || next.Disks[0].Path == image.Disks[0].Path {
		t.Error("another kernel makes no other image")
	}
	if after, err := os.ReadFile(image.Kernel); err != nil || string(after) != string(before) {
		t.Errorf("the kernel of a prepared image changed: %v", err)
	}
	if info, err := os.Stat(next.Kernel); err != nil || info.Mode().Perm() != 0o444 {
		t.Errorf("the kernel is not for a monitor's user: %v, %v", info.Mode(), err)
	}
}

func TestPrepareRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		loader string
		on     guest.Machine
		change func(*faas.Revision)
		kind   faas.Kind
		text   string
	}{
		"no kernel":     {loader: "", on: q35, kind: faas.KindUnavailable, text: "unifaas assets add osv"},
		"no such file":  {loader: "/no/such", on: q35, kind: faas.KindUnavailable, text: "UNIFAAS_OSV_LOADER"},
		"microvm":       {on: microvm, kind: faas.KindInvalid, text: `finds no clock on a microvm without KVM, and halts; it can on vmm = "qemu"`},
		"no command":    {on: q35, change: func(r *faas.Revision) { r.Function.Command = nil }, kind: faas.KindInvalid, text: "command"},
		"no program":    {on: q35, change: func(r *faas.Revision) { r.Function.Command = []string{"/no"} }, kind: faas.KindInvalid, text: `the image has no program "/no"`},
		"no root":       {on: q35, change: func(r *faas.Revision) { r.Image.Rootfs = "" }, kind: faas.KindInvalid, text: "no root file system"},
		"a long line":   {on: q35, change: func(r *faas.Revision) { r.Function.Env["LONG"] = strings.Repeat("x", 4000) }, kind: faas.KindInvalid, text: "qemu hands 4095 to OSv"},
		"long for some": {on: firecracker, change: func(r *faas.Revision) { r.Function.Env["LONG"] = strings.Repeat("x", 2000) }, kind: faas.KindInvalid, text: "firecracker hands 2047"},
	} {
		t.Run(name, func(t *testing.T) {
			loader := c.loader
			if c.kind == faas.KindInvalid {
				loader = fakeLoader(t, speaks)
			}
			rev := revision(t)
			if c.change != nil {
				c.change(rev)
			}
			_, err := newSystem(t, loader).Prepare(t.Context(), rev, c.on)
			if faas.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v (%v), want %v: %s", err, faas.KindOf(err), c.kind, c.text)
			}
		})
	}
}

func TestProbe(t *testing.T) {
	if c := newSystem(t, "").Probe(t.Context()); c.Works || c.Reason == "" || c.Remedy == "" {
		t.Errorf("without a kernel: got %+v", c)
	}
	if c := newSystem(t, fakeLoader(t, speaks)).Probe(t.Context()); !c.Works || !strings.HasPrefix(c.Detail, "OSv v0.57.0-9 (") {
		t.Errorf("got %+v", c)
	}
	if c := newSystem(t, fakeLoader(t, "something else")).Probe(t.Context()); c.Works || !strings.Contains(c.Reason, "does not know OSv's option") {
		t.Errorf("something else: got %+v", c)
	}
}

func TestLoaderThatRunsNoStaticPrograms(t *testing.T) {
	l, err := newSystem(t, fakeLoader(t, speaks+"Statically linked executables are not supported!")).loader()
	if err != nil || l.Static || l.Version != "v0.57.0-9" || l.Last == 0 {
		t.Errorf("got %+v, %v", l, err)
	}
}

func TestPrune(t *testing.T) {
	loader := fakeLoader(t, speaks)
	s := newSystem(t, loader)
	rev, other := revision(t), revision(t)
	other.Image.Digest = "sha256:2"
	kept, err := s.Prepare(t.Context(), rev, q35)
	if err != nil {
		t.Fatal(err)
	}
	gone, err := s.Prepare(t.Context(), other, q35)
	if err != nil {
		t.Fatal(err)
	}
	exists := func(path string) bool { _, err := os.Stat(path); return err == nil }
	if err := s.Prune([]faas.Image{rev.Image}, time.Hour); err != nil || !exists(gone.Disks[0].Path) {
		t.Errorf("within its grace: %v", err)
	}
	if err := s.Prune([]faas.Image{rev.Image}, -time.Second); err != nil || exists(gone.Disks[0].Path) || !exists(kept.Disks[0].Path) || !exists(kept.Kernel) {
		t.Errorf("after it: %v", err)
	}
	if err := os.Chtimes(kept.Kernel, time.Now().Add(-2*made.Unwanted), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := s.Prune(nil, 0); err != nil || exists(kept.Kernel) {
		t.Errorf("a kernel that nobody has wanted for long: %v", err)
	}
}
