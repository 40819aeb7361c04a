package nanos

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/assets"
	"github.com/unifaas/unifaas/internal/guest/nanos/disk"
	"github.com/unifaas/unifaas/internal/guest/nanos/nanostest"
	"github.com/unifaas/unifaas/internal/guest/nanos/tfs"
	"github.com/unifaas/unifaas/internal/image/elftest"
	"github.com/unifaas/unifaas/internal/vmm"
)

var (
	q35         = guest.Machine{Monitor: "qemu", Accelerator: vmm.TCG, Boots: []vmm.Boot{vmm.BootLinux, vmm.BootPVH, vmm.BootDisk}, PCI: true, PowersOff: true}
	firecracker = guest.Machine{Monitor: "firecracker", Accelerator: vmm.KVM, Boots: []vmm.Boot{vmm.BootLinux, vmm.BootPVH}, ELFOnly: true}
	microvm     = guest.Machine{Monitor: "qemu-microvm", Accelerator: vmm.TCG, Boots: []vmm.Boot{vmm.BootLinux, vmm.BootPVH}}
	instance    = guest.Instance{
		ID: "i", Guest: netip.MustParseAddr("172.31.255.2"), Gateway: netip.MustParsePrefix("172.31.255.1/30"), Callback: "http://172.31.255.1:3000/ready/i",
	}
)

func newSystem(t *testing.T, release string) *System {
	t.Helper()
	return NewSystem(t.TempDir(), assets.NewFinder(Assets(), release, assets.NewStore(t.TempDir())))
}

func revision(t *testing.T) *faas.Revision {
	t.Helper()
	rootfs := t.TempDir()
	put(t, rootfs, "f", elftest.File{}.Bytes(t))
	return &faas.Revision{
		Function: faas.Function{Ref: faas.NewRef("f"), Command: []string{"/f", "a b"}, Env: map[string]string{"A": "1"}, Limits: faas.Limits{Disk: 8 << 20}},
		Image:    faas.Image{Digest: "sha256:1", Rootfs: rootfs, Config: faas.ImageConfig{WorkDir: "/work"}},
	}
}

func put(t *testing.T, rootfs, name string, content []byte) {
	t.Helper()
	p := filepath.Join(rootfs, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, content, 0o755)); err != nil {
		t.Fatal(err)
	}
}

// manifest reads a disk's.
func manifest(t *testing.T, path string) tfs.Tuple {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := disk.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	m, err := d.Root.Attributes()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestPrepareForDisks(t *testing.T) {
	rev := revision(t)
	rev.Function.Ready.Kind = faas.ReadyCallback
	s := newSystem(t, nanostest.Release(t))
	image, err := s.Prepare(t.Context(), rev, q35)
	if err != nil {
		t.Fatal(err)
	}
	if image.Boot != vmm.BootDisk || image.Kernel != "" || image.Cmdline != nil || len(image.Disks) != 2 || !image.Disks[0].Private || !image.Disks[1].Private {
		t.Fatalf("image: %+v", image)
	}
	environment := tfs.Tuple{{Name: "A", Value: "1"}, {Name: "PATH", Value: manifest(t, image.Disks[0].Path).Get("environment").(tfs.Tuple).Get("PATH")}}
	want := tfs.Tuple{
		{Name: "program", Value: "/f"}, {Name: "arguments", Value: tfs.List("/f", "a b")}, {Name: "environment", Value: environment},
		{Name: "readonly_rootfs", Value: "t"}, {Name: "mounts", Value: tfs.Tuple{{Name: "tmp", Value: "/tmp"}}}, {Name: "cwd", Value: "/work"},
	}
	if got := manifest(t, image.Disks[0].Path); !reflect.DeepEqual(got, want) {
		t.Errorf("manifest: got %v, want %v", got, want)
	}
	// An instance's copy.
	data, err := os.ReadFile(image.Disks[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(mine)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := image.Disks[0].Patch(f, instance); err != nil {
		t.Fatal(err)
	}
	want[2].Value = append(environment, tfs.Attribute{Name: "UNIFAAS_CALLBACK", Value: instance.Callback})
	want = append(want, tfs.Attribute{Name: "en1", Value: tfs.Tuple{
		{Name: "ipaddr", Value: "172.31.255.2"}, {Name: "netmask", Value: "255.255.255.252"}, {Name: "gateway", Value: "172.31.255.1"},
	}})
	if got := manifest(t, mine); !reflect.DeepEqual(got, want) {
		t.Errorf("an instance's manifest: got %v, want %v", got, want)
	}
	scratch, err := os.ReadFile(image.Disks[1].Path)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := tfs.Open(bytes.NewReader(scratch), int64(len(scratch))); err != nil || v.Label != "tmp" || len(scratch) < 8<<20 || len(scratch) > 10<<20 {
		t.Errorf("the disk for /tmp: %+v, %v, %d bytes", v, err, len(scratch))
	}
}

func TestPrepareForKernels(t *testing.T) {
	rev := revision(t)
	rev.Function.Ready.Kind = faas.ReadyCallback
	image, err := newSystem(t, nanostest.Release(t)).Prepare(t.Context(), rev, firecracker)
	if err != nil {
		t.Fatal(err)
	}
	if image.Boot != vmm.BootLinux || image.Disks[0].Patch != nil {
		t.Fatalf("image: %+v", image)
	}
	if got := manifest(t, image.Disks[0].Path).Get("reboot_on_exit"); got != "*" {
		t.Errorf("reboot_on_exit: got %v on a machine that can't be turned off", got)
	}
	const want = "en1.ipaddr=172.31.255.2 en1.netmask=255.255.255.252 en1.gateway=172.31.255.1 environment.UNIFAAS_CALLBACK=http://172.31.255.1:3000/ready/i"
	if got := image.Cmdline(instance); got != want {
		t.Errorf("command line: got %q", got)
	}
	k, err := elf.Open(image.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	for _, p := range k.Progs {
		if p.Type == elf.PT_NOTE {
			t.Error("the kernel has its notes still")
		}
	}
	// All but the notes' type is as it was.
	patched, err := os.ReadFile(image.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	differ := 0
	for i, b := range nanostest.Kernel(t) {
		if patched[i] != b {
			differ++
		}
	}
	if differ != 1 || elf.ProgType(binary.LittleEndian.Uint32(patched[64:])) != elf.PT_LOAD {
		t.Errorf("the patched kernel differs in %d bytes, want 1", differ)
	}
}

// TestImagesAreByContent changes one thing after the other.
func TestImagesAreByContent(t *testing.T) {
	release := nanostest.Release(t)
	s := newSystem(t, release)
	path := func(rev *faas.Revision, on guest.Machine) string {
		image, err := s.Prepare(t.Context(), rev, on)
		if err != nil {
			t.Fatal(err)
		}
		return image.Disks[0].Path
	}
	rev := revision(t)
	first := path(rev, q35)
	info, err := os.Stat(first)
	if err != nil {
		t.Fatal(err)
	}
	if again := path(rev, q35); again != first {
		t.Errorf("the same revision: %s, then %s", first, again)
	}
	if now, err := os.Stat(first); err != nil || !os.SameFile(info, now) {
		t.Errorf("the image was made anew (%v)", err)
	}
	seen := map[string]string{first: "the first"}
	for name, change := range map[string]func(r *faas.Revision){
		"arguments":   func(r *faas.Revision) { r.Function.Command = []string{"/f", "c"} },
		"environment": func(r *faas.Revision) { r.Function.Env = map[string]string{"A": "2"} },
		"image":       func(r *faas.Revision) { r.Image.Digest = "sha256:2" },
	} {
		other := *rev
		change(&other)
		p := path(&other, q35)
		if seen[p] != "" {
			t.Errorf("%s and %s have one image", name, seen[p])
		}
		seen[p] = name
	}
	another := append(nanostest.Kernel(t), "another"...)
	if err := os.WriteFile(filepath.Join(release, "kernel.img"), another, 0o644); err != nil {
		t.Fatal(err)
	}
	if p := path(rev, q35); seen[p] != "" {
		t.Errorf("another kernel and %s have one image", seen[p])
	}
	// The image is of nothing that is kept, and was wanted just now.
	if err := s.Prune(nil, 1<<40); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(first); err != nil {
		t.Errorf("pruned within its grace: %v", err)
	}
	if err := s.Prune(nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(first); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pruned: %v", err)
	}
}

func TestWhatDoesNotGoTogether(t *testing.T) {
	s := newSystem(t, nanostest.Release(t))
	if _, err := s.Prepare(t.Context(), revision(t), microvm); faas.KindOf(err) != faas.KindInvalid || !strings.Contains(err.Error(), `vmm = "qemu"`) {
		t.Errorf("microvm: %v", err)
	}
	for want, on := range map[vmm.Boot]guest.Machine{"": microvm, vmm.BootDisk: q35, vmm.BootLinux: firecracker} {
		if boot, err := s.choose(on); boot != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", on.Monitor, boot, err, want)
		}
	}
	empty := revision(t)
	empty.Image.Rootfs = ""
	if _, err := s.Prepare(t.Context(), empty, q35); faas.KindOf(err) != faas.KindInvalid {
		t.Errorf("no root file system: %v", err)
	}
	t.Setenv("OPS_HOME", t.TempDir())
	none := newSystem(t, "")
	if _, err := none.Prepare(t.Context(), revision(t), q35); faas.KindOf(err) != faas.KindUnavailable || !strings.Contains(err.Error(), "unifaas assets add") {
		t.Errorf("no kernel: %v", err)
	}
	if c := none.Probe(context.Background()); c.Works || c.Reason == "" || c.Remedy == "" {
		t.Errorf("probe without a kernel: %+v", c)
	}
}

// TestReleaseOfOps finds what ops has downloaded.
func TestReleaseOfOps(t *testing.T) {
	home := t.TempDir()
	t.Setenv("OPS_HOME", home)
	if c := newSystem(t, "").Probe(t.Context()); c.Works {
		t.Errorf("nothing: %+v", c)
	}
	if err := os.MkdirAll(filepath.Join(home, ".ops"), 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, home, ".ops/0.1.99/kernel.img", nil) // downloaded in part
	for _, name := range []string{"0.1.2", "0.1.10", "nightly"} {
		if err := os.Rename(nanostest.Release(t), filepath.Join(home, ".ops", name)); err != nil {
			t.Fatal(err)
		}
	}
	for latest, want := range map[string]string{"": "0.1.10", "0.1.2": "0.1.2", "0.1.99": "0.1.10", "../../etc": "0.1.10", "nightly": "nightly"} {
		put(t, home, ".ops/latest.txt", []byte(latest+"\n"))
		c := newSystem(t, "").Probe(t.Context())
		if !c.Works || !strings.Contains(c.Detail, nanostest.Commit[:12]) || !strings.Contains(c.Detail, "/.ops/"+want+",") {
			t.Errorf("latest is %q: want %s, probe: %+v", latest, want, c)
		}
	}
}

// TestKernelThatChanges is replaced between the check and the disk.
func TestKernelThatChanges(t *testing.T) {
	dir := nanostest.Release(t)
	s := newSystem(t, dir)
	set, err := s.assets.Find()
	if err != nil {
		t.Fatal(err)
	}
	path := set.Path(kernelFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, whole[:len(whole)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	rev := revision(t)
	p, err := newPlan(rev, q35)
	if err != nil {
		t.Fatal(err)
	}
	if made, err := s.makeDisk(t.Context(), rev, p, set); faas.KindOf(err) != faas.KindUnavailable || !strings.Contains(err.Error(), "is being changed") {
		t.Errorf("got %q, %v", made, err)
	}
	if err := os.WriteFile(path, whole, 0o644); err != nil {
		t.Fatal(err)
	}
	made, err := s.makeDisk(t.Context(), rev, p, set)
	if err != nil {
		t.Fatal(err)
	}
	if disk, err := os.ReadFile(made); err != nil || !bytes.Contains(disk, whole) {
		t.Errorf("the disk has another kernel, %v", err)
	}
}

// words is a disk in memory with last words.
func words(t *testing.T, code byte, text string) io.ReaderAt {
	t.Helper()
	data := make([]byte, 64<<10)
	copy(data, nanostest.Loader()[:512])
	data[446+4] = 0x83
	binary.LittleEndian.PutUint32(data[446+8:], 100)
	at := 100*512 - 4096
	copy(data[at:], "KLOG")
	data[at+12] = code
	copy(data[at+16:], text)
	return bytes.NewReader(data)
}

func TestExit(t *testing.T) {
	s := &System{}
	if e, ok := s.Exit(bytes.NewReader(make([]byte, 64<<10))); ok {
		t.Errorf("nothing was said: %+v", e)
	}
	for name, c := range map[string]struct {
		code byte
		text string
		want guest.Exit
	}{
		"status":          {7, "[0.2] en1: assigned\nbye\n", guest.Exit{Code: 7}},
		"signal":          {11, "*** frame\n\n   core dump\n[1.2] storage_shutdown error: no core generated: limit 0\n", guest.Exit{Code: -1, Signal: 11}},
		"small status":    {11, "core dumped by me", guest.Exit{Code: 11}},
		"out of memory":   {9, "page fault: out of memory, program killed\n   terminate\n", guest.Exit{Code: 9, OutOfMemory: true}},
		"its own words":   {3, "out of memory\nterminate\n  core dump\n", guest.Exit{Code: 3}},
		"kernel's memory": {0x7f, "[1.5] mem error: Out of memory: cannot allocate 4096 bytes\n", guest.Exit{Code: 0x7f, OutOfMemory: true}},
		"kernel":          {0x7f, "assertion x failed\n", guest.Exit{Code: 0x7f, Reason: "exit status 127, the program's own or that of the unikernel's kernel when it fails: assertion x failed"}},
		"silence":         {3, "", guest.Exit{Code: 3}},
	} {
		if got, ok := s.Exit(words(t, c.code, c.text)); !ok || got != c.want {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, ok, c.want)
		}
	}
}
