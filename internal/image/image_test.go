package image_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image"
	"github.com/unifaas/unifaas/internal/image/elftest"
	"github.com/unifaas/unifaas/internal/image/registry"
)

// A place is a function's folder beside a store.
type place struct {
	t     *testing.T
	dir   string
	state string // the store's folder
	store *image.Store
}

func newPlace(t *testing.T) *place { return newPlaceWith(t, image.Options{}) }

// newPlaceWith adds what every test needs to opts.
func newPlaceWith(t *testing.T, opts image.Options) *place {
	p := &place{t: t, dir: t.TempDir(), state: filepath.Join(t.TempDir(), "store")}
	certificates := filepath.Join(t.TempDir(), "bundle.crt")
	if err := os.WriteFile(certificates, []byte("certificates"), 0o600); err != nil {
		t.Fatal(err)
	}
	opts.Path, opts.Certificates = []string{p.path("path")}, []string{"/no/such/bundle", certificates}
	if opts.Registry.Stall == 0 {
		opts.Registry = registry.Options{Keychain: authn.NewMultiKeychain(), Stall: 10 * time.Second, Backoff: time.Millisecond}
	}
	p.open(opts)
	return p
}

// open opens the store, as another run of the platform would.
func (p *place) open(opts image.Options) {
	p.t.Helper()
	s, err := image.Open(p.state, opts)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			p.t.Error(err)
		}
	})
	p.store = s
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

func (p *place) write(name, content string, mode uint32) string {
	p.t.Helper()
	if err := os.MkdirAll(filepath.Dir(p.path(name)), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(p.path(name), []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := unix.Chmod(p.path(name), mode); err != nil {
		p.t.Fatal(err)
	}
	return p.path(name)
}

func (p *place) link(name, target string) {
	p.t.Helper()
	if err := os.Symlink(target, p.path(name)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) function(scheme, location string) *faas.Function {
	return &faas.Function{Ref: faas.NewRef("f"), Dir: p.dir, Image: faas.ImageSource{Scheme: scheme, Location: location}}
}

func (p *place) resolve(fn *faas.Function) faas.Image {
	p.t.Helper()
	img, err := p.store.Resolve(p.t.Context(), fn)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.store.Verify(p.t.Context(), img); err != nil {
		p.t.Error(err)
	}
	return img
}

func (p *place) refused(fn *faas.Function, kind faas.Kind, wants ...string) {
	p.t.Helper()
	_, err := p.store.Resolve(p.t.Context(), fn)
	if err == nil || faas.KindOf(err) != kind {
		p.t.Fatalf("got %v (%v), want kind %v", err, faas.KindOf(err), kind)
	}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			p.t.Errorf("%q does not say %q", err, want)
		}
	}
}

func (p *place) has(img faas.Image, name, want string) {
	p.t.Helper()
	got, err := os.ReadFile(filepath.Join(img.Rootfs, name))
	if err != nil || string(got) != want {
		p.t.Errorf("%s holds %q, %v; want %q", name, got, err, want)
	}
}

func (p *place) lstat(img faas.Image, name string) unix.Stat_t {
	p.t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(img.Rootfs, name), &st); err != nil {
		p.t.Error(name, err)
	}
	return st
}

func static(t *testing.T, payload string) string {
	return string(elftest.File{Payload: payload}.Bytes(t))
}

func TestStaticBinary(t *testing.T) {
	p := newPlace(t)
	program := static(t, "1")
	img := p.resolve(p.function("file", p.write("server", program, 0o600)))
	p.has(img, "/server", program)
	p.has(img, "/usr/local/bin/../../../server", program)
	p.has(img, "/etc/ssl/certs/ca-certificates.crt", "certificates")
	p.has(img, "/etc/passwd", "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n")
	for _, name := range []string{"/etc/group", "/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf"} {
		if st := p.lstat(img, name); st.Mode != unix.S_IFREG|0o644 || st.Size == 0 {
			t.Errorf("%s has mode %o and %d bytes", name, st.Mode, st.Size)
		}
	}
	for name, mode := range map[string]uint32{"/tmp": 0o1777, "/var/tmp": 0o1777, "/proc": 0o555, "/sys": 0o555, "/dev": 0o755} {
		if os.Geteuid() != 0 {
			mode |= 0o700 // an ordinary user's store must stay removable
		}
		if st := p.lstat(img, name); st.Mode != unix.S_IFDIR|mode {
			t.Errorf("%s has mode %o, want %o", name, st.Mode, mode)
		}
	}
	if st := p.lstat(img, "/server"); st.Mode&0o777 != 0o755 {
		t.Errorf("the program has mode %o", st.Mode)
	}
	if len(img.Config.Entrypoint) != 1 || img.Config.Entrypoint[0] != "/server" || img.Config.WorkDir != "/" {
		t.Errorf("config %+v", img.Config)
	}
	if target, err := os.Readlink(img.Rootfs + "/usr/local/bin/server"); err != nil || target != "/server" {
		t.Error("PATH has", target, err)
	}
}

// What runs is the store's copy: writing to the source in place reaches no
// instance, and makes another image.
func TestRewriteInPlaceReachesNoImage(t *testing.T) {
	p := newPlace(t)
	first := static(t, "first")
	fn := p.function("file", p.write("server", first, 0o755))
	before := p.resolve(fn)
	p.write("server", static(t, "other"), 0o755)
	after := p.resolve(fn)
	p.has(before, "/server", first)
	if before.Digest == after.Digest || before.Rootfs == after.Rootfs {
		t.Error("another program, the same image")
	}
	p.write("server", first, 0o755)
	if again := p.resolve(fn); again.Digest != before.Digest {
		t.Error("the first program again, another image")
	}
}

func TestSameProgramSameImage(t *testing.T) {
	p := newPlace(t)
	a := p.resolve(p.function("file", p.write("a/server", static(t, "x"), 0o755)))
	b := p.resolve(p.function("file", p.write("b/server", static(t, "x"), 0o700)))
	if a.Digest != b.Digest || a.Rootfs != b.Rootfs {
		t.Error("the same program in two folders makes two images")
	}
	c := p.resolve(p.function("file", p.write("c/other", static(t, "x"), 0o755)))
	if c.Digest == a.Digest {
		t.Error("another entrypoint, the same image")
	}
}

func TestBareNameIsLookedUp(t *testing.T) {
	p := newPlace(t)
	fn := p.function("file", "tool")
	p.refused(fn, faas.KindInvalid, `"tool"`, p.dir, "PATH")
	p.write("path/tool", static(t, "from PATH"), 0o755)
	p.has(p.resolve(fn), "/tool", static(t, "from PATH"))
	p.write("tool", static(t, "own"), 0o755)
	p.has(p.resolve(fn), "/tool", static(t, "own"))
}

func TestDynamicBinaryAndScript(t *testing.T) {
	p := newPlace(t)
	linker := p.write("ld.so.2.36", static(t, "linker"), 0o755)
	p.link("ld.so", "ld.so.2.36")
	p.write("lib/liba.so.1.2", string(elftest.File{Type: 3}.Bytes(t)), 0o644)
	p.link("lib/liba.so.1", "liba.so.1.2")
	program := elftest.File{Interp: p.path("ld.so"), Needed: []string{"liba.so.1"}, RunPath: "$ORIGIN/lib"}
	tool := p.write("tool", string(program.Bytes(t)), 0o755)
	img := p.resolve(p.function("file", tool))
	p.has(img, linker, static(t, "linker"))
	if target, _ := os.Readlink(img.Rootfs + p.path("ld.so")); target != "ld.so.2.36" {
		t.Error("the linker's link leads to", target)
	}
	if target, _ := os.Readlink(img.Rootfs + p.path("lib/liba.so.1")); target != "liba.so.1.2" {
		t.Error("the library's link leads to", target)
	}
	if target, _ := os.Readlink(img.Rootfs + "/usr/lib/liba.so.1"); target != p.path("lib/liba.so.1") {
		t.Error("the default folder's link leads to", target)
	}
	script := p.resolve(p.function("file", p.write("run", "#!"+tool+"\n", 0o755)))
	p.has(script, "/run", "#!"+tool+"\n")
	p.has(script, tool, string(program.Bytes(t)))
}

// A real dynamic program starts in its image, which shows that its linker
// finds everything there.
func TestRealProgramRunsInItsImage(t *testing.T) {
	for program, args := range map[string][]string{
		"/bin/sh":       {"-c", "echo works"},
		"/usr/bin/node": {"-e", "require('http'); console.log('works')"},
	} {
		t.Run(filepath.Base(program), func(t *testing.T) {
			if _, err := os.Stat(program); err != nil {
				t.Skip(err)
			}
			p := newPlace(t)
			img := p.resolve(p.function("file", program))
			cmd := exec.Command(img.Config.Entrypoint[0], args...)
			cmd.Env = []string{"PATH=/usr/local/bin"}
			cmd.Dir = "/"
			cmd.SysProcAttr = &unix.SysProcAttr{Chroot: img.Rootfs}
			out, err := cmd.CombinedOutput()
			if errors.Is(err, unix.EPERM) {
				t.Skip("chroot needs root")
			}
			if err != nil || strings.TrimSpace(string(out)) != "works" {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
}

func TestWrongPrograms(t *testing.T) {
	p := newPlace(t)
	p.refused(p.function("file", p.path("missing")), faas.KindInvalid, p.path("missing"), "no such file")
	p.refused(p.function("file", p.dir), faas.KindInvalid, p.dir)
	foreign := p.write("foreign", string(elftest.File{Machine: 22}.Bytes(t)), 0o755)
	p.refused(p.function("file", foreign), faas.KindInvalid, foreign, "s390")
	p.refused(p.function("file", p.write("etc", static(t, ""), 0o755)), faas.KindInvalid, `"/etc"`)
	if err := unix.Mkfifo(p.path("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	fn := p.function("file", p.write("server", static(t, ""), 0o755))
	fn.Files = map[string]string{"/fifo": p.path("fifo")}
	p.refused(fn, faas.KindInvalid, p.path("fifo"), "no regular file")
}

func TestUnknownScheme(t *testing.T) {
	p := newPlace(t)
	p.refused(p.function("ftp", "x"), faas.KindUnavailable, `no sources of the kind "ftp"`)
}

func TestRawVM(t *testing.T) {
	p := newPlace(t)
	raw := p.function("", "")
	raw.VM = &faas.VM{Kernel: p.write("kernel", "k", 0o600), Image: p.path("disk")}
	p.refused(raw, faas.KindInvalid, p.path("disk"))
	p.write("disk", "d1", 0o600)
	first, err := p.store.Resolve(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	p.write("disk", "d2", 0o600)
	if second, err := p.store.Resolve(t.Context(), raw); err != nil || second.Digest == first.Digest {
		t.Error("another disk, the same image", err)
	}
}

func TestInputs(t *testing.T) {
	p := newPlace(t)
	fn := p.function("file", "tool")
	fn.Files = map[string]string{"/a": p.path("a")}
	inputs := strings.Join(p.store.Inputs(fn), " ")
	for _, want := range []string{p.path("tool"), p.path("a"), "bundle.crt"} {
		if !strings.Contains(inputs, want) {
			t.Errorf("inputs %q lack %q", inputs, want)
		}
	}
	if got := p.store.Inputs(p.function("dir", "/x")); len(got) != 1 || got[0] != "/x" {
		t.Error("inputs of a folder:", got)
	}
}

// Many resolves at once of one program make one object and one tree.
func TestConcurrentResolves(t *testing.T) {
	p := newPlace(t)
	fn := p.function("file", p.write("server", static(t, strings.Repeat("x", 1<<20)), 0o755))
	images := make([]faas.Image, 32)
	var wg sync.WaitGroup
	for i := range images {
		wg.Go(func() {
			img, err := p.store.Resolve(t.Context(), fn)
			if err != nil {
				t.Error(err)
			}
			images[i] = img
		})
	}
	wg.Wait()
	for _, img := range images {
		if img.Rootfs != images[0].Rootfs {
			t.Error("another tree:", img.Rootfs)
		}
	}
}

// While a file is written to, a resolve fails or gives one of its versions,
// never a mixture.
func TestNoMixtureWhileTheSourceIsWritten(t *testing.T) {
	p := newPlace(t)
	// Small, so that on a busy machine the writer is seldom put to sleep in the
	// midst for longer than a file is watched: nobody could tell that it is not
	// done.
	versions := []string{static(t, strings.Repeat("A", 1<<14)), static(t, strings.Repeat("B", 1<<14))}
	file := p.write("server", versions[0], 0o755)
	fn := p.function("file", file)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := f.WriteAt([]byte(versions[i%2]), 0); err != nil {
				t.Error(err)
				return
			}
		}
	})
	seen := 0
	for range 30 {
		img, err := p.store.Resolve(t.Context(), fn)
		if err != nil {
			if faas.KindOf(err) != faas.KindBusy {
				t.Error(err)
			}
			continue
		}
		seen++
		got, err := os.ReadFile(img.Rootfs + "/server")
		if err != nil || !bytes.Equal(got, []byte(versions[0])) && !bytes.Equal(got, []byte(versions[1])) {
			t.Error("a mixture of two versions", err)
		}
	}
	close(stop)
	writer.Wait()
	t.Logf("%d of 30 resolves gave an image", seen)
	img := p.resolve(fn)
	if got, _ := os.ReadFile(file); string(got) != string(must(os.ReadFile(img.Rootfs+"/server"))) {
		t.Error("the image is not what the file holds")
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestPruneKeepsWhatIsServed(t *testing.T) {
	p := newPlace(t)
	keep := p.resolve(p.function("file", p.write("a", static(t, "a"), 0o755)))
	drop := p.resolve(p.function("file", p.write("b", static(t, "b"), 0o755)))
	pruned, err := p.store.Prune(t.Context(), []faas.Image{keep, {Digest: "sha256:docker"}}, 0)
	if err != nil || pruned.Trees != 1 {
		t.Errorf("%+v, %v", pruned, err)
	}
	p.has(keep, "/a", static(t, "a"))
	if _, err := os.Stat(drop.Rootfs); !errors.Is(err, fs.ErrNotExist) {
		t.Error("still there:", err)
	}
	p.has(p.resolve(p.function("file", p.path("b"))), "/b", static(t, "b"))
}
