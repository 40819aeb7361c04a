package linux_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/guest/linux"
	"github.com/unifaas/unifaas/internal/guest/linux/control"
	"github.com/unifaas/unifaas/internal/guest/linux/kernel"
	"github.com/unifaas/unifaas/internal/guest/linux/kernel/kerneltest"
	"github.com/unifaas/unifaas/internal/guest/linux/wire"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

// needs skips where no machine can be run.
func needs(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		sandboxtest.Skip(t, linux.Name, sandboxtest.NotRoot{What: "make networks of machines"})
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		sandboxtest.Skip(t, linux.Name, sandboxtest.Missing{What: "QEMU", Remedy: "apt-get install qemu-system-x86"})
	}
	if _, err := linux.InitProgram(); errors.Is(err, linux.ErrNoInit) {
		sandboxtest.Skip(t, linux.Name, sandboxtest.Missing{What: "the first process of guests", Remedy: "make build"})
	}
}

// kernels returns Debian's kernel, and whichever else there are.
func kernels(t testing.TB) []*kernel.Kernel {
	t.Helper()
	all, err := kernel.NewStore(kerneltest.Dir(t, linux.Name)).List()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// probe builds the function and returns its root.
func probe(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-ldflags", "-s -w", "-o", filepath.Join(root, "bin", "probe"), "./testdata/probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0::/:/x\nweb:x:33:44::/:/x\n", "etc/resolv.conf": "nameserver 10.88.0.1\n", "home/x": "",
	} {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func revision(root string, change func(*faas.Revision)) *faas.Revision {
	rev := &faas.Revision{
		Function: faas.Function{
			Ref: faas.NewRef("probe"), Port: 8080, Command: []string{"probe"},
			Env: map[string]string{"PORT": "8080", "GREETING": "hello", "PATH": "/nowhere:/bin"}, Limits: faas.Limits{Disk: 8 << 20, Pids: 20},
		},
		Image: faas.Image{Rootfs: root, Digest: "sha256:" + root, Config: faas.ImageConfig{User: "web", WorkDir: "/home"}},
	}
	if change != nil {
		change(rev)
	}
	return rev
}

// run makes an image and boots it.
func run(t testing.TB, k *kernel.Kernel, machine kind, root linux.Root, rev *faas.Revision) *guest {
	t.Helper()
	return start(t, made(t, k, machine, root, rev))
}

// made makes an image and returns how it is booted.
func made(t testing.TB, k *kernel.Kernel, machine kind, root linux.Root, rev *faas.Revision) boot {
	t.Helper()
	image, err := linux.MakeImage(context.Background(), rev, linux.ImageOptions{Dir: t.TempDir(), Kernel: k, Drivers: machine.drivers, Root: root})
	if err != nil {
		t.Fatal(err)
	}
	return boot{kind: machine, kernel: k.ELF(), initrd: image.Initrd, disk: image.Disk, memory: 128, port: rev.Function.Port}
}

// facts are those of probe.
type facts struct {
	Args, Env, Devices []string
	Dir, Host          string
	UID, GID           int
	Caps, Bounding     string
	NoNewPrivs         string
	Errors             map[string]string
	Tmp, Seconds       int64
}

// TestBoot boots every kernel on every machine with both kinds of root.
func TestBoot(t *testing.T) {
	needs(t)
	root := probe(t)
	for _, k := range kernels(t) {
		for _, machine := range kinds {
			for _, r := range []linux.Root{linux.RootInitial, linux.RootEROFS, linux.RootExt4} {
				t.Run(string(k.Kind)+"/"+machine.name+"/"+string(r), func(t *testing.T) {
					g := run(t, k, machine, r, revision(root, nil))
					g.await(t, "ready", g.Ready())
					ready := time.Since(g.started)
					var f facts
					if err := json.Unmarshal([]byte(g.get(t, "/facts", 8080)), &f); err != nil {
						t.Fatal(err)
					}
					t.Logf("ready after %v, an answer after %v; %s", ready.Round(time.Millisecond), time.Since(g.started).Round(time.Millisecond), g.told())
					checkFacts(t, f)
					if _, err := g.client.Get(url("/exit?3", 8080)); err == nil {
						t.Error("an answer of a function that ended")
					}
					g.await(t, "exit", g.Exited())
					if e := g.Exit(); e.Code != 3 || e.Signal != 0 || e.OutOfMemory {
						t.Errorf("exit: got %+v", e)
					}
					if said := g.said(t); said != "the last words\n" {
						t.Errorf("output: got %q", said)
					}
					g.await(t, "end of the machine", g.ended)
				})
			}
		}
	}
}

func checkFacts(t *testing.T, f facts) {
	t.Helper()
	for what, err := range f.Errors {
		if err == "" {
			t.Errorf("the function could %s", what)
		}
	}
	if d := time.Since(time.Unix(f.Seconds, 0)); d < -2*time.Second || d > 3*time.Second {
		t.Errorf("its clock is %v late", d)
	}
	if f.Tmp < 7<<20 || f.Tmp > 8<<20 {
		t.Errorf("it could write %d bytes to /tmp", f.Tmp)
	}
	f.Errors, f.Seconds, f.Tmp = nil, 0, 0
	none := "0000000000000000"
	want := facts{
		Args: []string{"probe"}, Env: []string{"GREETING=hello", "PATH=/nowhere:/bin", "PORT=8080"},
		Devices: []string{"fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"},
		Dir:     "/home", Host: "probe", UID: 33, GID: 44, Caps: none, Bounding: none, NoNewPrivs: "1",
	}
	if diff := cmp.Diff(want, f); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
}

// one returns the first kernel, on the machine that boots fastest.
func one(t *testing.T) (*kernel.Kernel, kind) {
	t.Helper()
	needs(t)
	return kernels(t)[0], kinds[0]
}

func TestOutOfMemory(t *testing.T) {
	k, machine := one(t)
	g := run(t, k, machine, linux.RootEROFS, revision(probe(t), nil))
	g.await(t, "ready", g.Ready())
	_, _ = g.client.Get(url("/eat", 8080))
	g.await(t, "exit", g.Exited())
	if e := g.Exit(); !e.OutOfMemory || e.Signal != 9 {
		t.Errorf("got %+v", e)
	}
	g.await(t, "end of the machine", g.ended)
}

// TestRootOnALowPort: a function that runs as root has its limits, too, and its
// port.
// TestWithoutConsole: a guest whose kernel has no console at all has its
// standard files nonetheless.
func TestWithoutConsole(t *testing.T) {
	needs(t)
	rev := revision(probe(t), nil)
	for _, k := range kernels(t) {
		t.Run(string(k.Kind), func(t *testing.T) {
			b := made(t, k, kinds[0], linux.RootInitial, rev)
			b.mute = true
			g := start(t, b)
			g.await(t, "ready", g.Ready())
			_ = g.get(t, "/facts", 8080)
		})
	}
}

func TestRootOnALowPort(t *testing.T) {
	k, machine := one(t)
	rev := revision(probe(t), func(rev *faas.Revision) {
		rev.Image.Config.User, rev.Function.Port = "", 80
		rev.Function.Env["PORT"] = "80"
	})
	g := run(t, k, machine, linux.RootInitial, rev)
	g.await(t, "ready", g.Ready())
	var f facts
	if err := json.Unmarshal([]byte(g.get(t, "/facts", 80)), &f); err != nil {
		t.Fatal(err)
	}
	delete(f.Errors, "bind a port") // those from its own on are open to it
	for what, err := range f.Errors {
		if err == "" {
			t.Errorf("the function could %s", what)
		}
	}
	if f.UID != 0 || f.Caps != "0000000000000000" {
		t.Errorf("user %d with capabilities %s", f.UID, f.Caps)
	}
	if n := g.get(t, "/fork", 80); n == "-1" || n == "0" {
		t.Errorf("it could start %s processes", n)
	}
	if err := g.Stop(15); err != nil {
		t.Fatal(err)
	}
	g.await(t, "exit", g.Exited())
	if e := g.Exit(); e.Signal != 15 {
		t.Errorf("exit: got %+v", e)
	}
	g.await(t, "end of the machine", g.ended)
}

// TestPlatformComesBack: the guest goes on without the host, and says
// everything again when that is back.
func TestPlatformComesBack(t *testing.T) {
	k, machine := one(t)
	g := run(t, k, machine, linux.RootInitial, revision(probe(t), nil))
	g.await(t, "ready", g.Ready())
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	g.get(t, "/say?alone", 8080)
	var ln net.Listener
	err := g.link.do(func() (err error) { ln, err = net.Listen("tcp", hostIP+":7000"); return err })
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	g.Guest = control.Listen(ln, control.Options{ID: "t-1", BelowPort: 1024, Output: out})
	g.await(t, "ready again", g.Ready())
	_, _ = g.client.Get(url("/exit?0", 8080))
	g.await(t, "exit", g.Exited())
	if said, err := os.ReadFile(out.Name()); string(said) != "alone\nthe last words\n" || g.Exit() != (wire.Exit{NS: g.Exit().NS}) {
		t.Errorf("got %q, %v, exit %+v", said, err, g.Exit())
	}
	g.await(t, "end of the machine", g.ended)
}

// TestCannotStart: what keeps a function from starting is told.
func TestCannotStart(t *testing.T) {
	k, machine := one(t)
	rev := revision(probe(t), func(rev *faas.Revision) { rev.Function.Command = []string{"nothing"} })
	g := run(t, k, machine, linux.RootInitial, rev)
	g.await(t, "exit", g.Exited())
	if e := g.Exit(); e.Code != -1 || e.Reason != "execute nothing: not found in PATH" {
		t.Errorf("got %+v", e)
	}
	g.await(t, "end of the machine", g.ended)
}

// TestImagesAreEqual: two images of one revision are equal byte by byte, and
// one that is there is not made again.
func TestImagesAreEqual(t *testing.T) {
	k, machine := one(t)
	rev := revision(probe(t), nil)
	var texts [][]byte
	var initrd string
	for range 2 {
		options := linux.ImageOptions{Dir: t.TempDir(), Kernel: k, Drivers: machine.drivers, Root: linux.RootInitial}
		image, err := linux.MakeImage(context.Background(), rev, options)
		if err != nil {
			t.Fatal(err)
		}
		again, err := linux.MakeImage(context.Background(), rev, options)
		if err != nil || *again != *image {
			t.Errorf("the second time: %+v, %v; the first %+v", again, err, image)
		}
		text, err := os.ReadFile(image.Initrd)
		if err != nil {
			t.Fatal(err)
		}
		if texts = append(texts, text); initrd != "" && filepath.Base(image.Initrd) != initrd {
			t.Errorf("names %q and %q", initrd, image.Initrd)
		}
		initrd = filepath.Base(image.Initrd)
	}
	if !bytes.Equal(texts[0], texts[1]) {
		t.Error("they differ")
	}
}
