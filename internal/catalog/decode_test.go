package catalog_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/internal/catalog"
	"github.com/unifaas/unifaas/internal/faas"
)

const mebibyte = 1 << 20

var sandboxes = []string{"gvisor", "container", "runc", "docker", "linux", "nanos", "osv"}

func decode(text string) (*faas.Function, error) {
	return catalog.Decode([]byte(text), catalog.DecodeOptions{
		Ref: faas.NewRef("f"), Dir: "/srv/functions/f", Sandboxes: sandboxes,
	})
}

func defaults() *faas.Function {
	return &faas.Function{
		Ref: faas.NewRef("f"), Dir: "/srv/functions/f", Sandbox: "gvisor",
		Image:       faas.ImageSource{Scheme: "file", Location: "/srv/functions/f/server"},
		Concurrency: 1, Keepalive: time.Minute, Queue: 1000, StartTimeout: 25 * time.Second,
		Timeout: faas.Timeouts{FirstByte: time.Minute, Idle: time.Minute},
		Limits:  faas.Limits{Memory: 128 * mebibyte, CPUs: 1, Pids: 128, Disk: 64 * mebibyte},
		Runtime: "runc",
	}
}

func TestDecodeNativeDefaults(t *testing.T) {
	got, err := decode(`image = "file:./server"`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(defaults(), got); diff != "" {
		t.Error("decoded (-want +got):\n", diff)
	}
}

func TestDecodeNativeEveryKey(t *testing.T) {
	got, err := decode(`
sandbox     = "linux"
fallback    = "container"
image       = "oci:../image"
command     = ["/benchmark", "-v"]
port        = 9000
concurrency = 8
keepalive   = "1m30s"
min-instances = 1
max-instances = 4
queue       = 10
start-timeout = "5s"
timeout     = { first-byte = "1s", idle = "2s", total = "3s" }
memory      = 256
cpus        = 2
pids        = 64
disk        = 32
egress      = ["10.0.0.0/8", "example.org", "192.0.2.1", "internet"]
ready       = "http:/ready?x=1"
health      = "http:/healthz"
labels      = { team = "edge" }
[env]
GREETING = "hello"
[files]
"/app" = "./src"
"/etc/x.conf" = "/opt/x.conf"
[vm]
vmm = "firecracker"
root = "ext4"
disk-rate = 50
network-rate = 10
`)
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Sandbox, want.Fallback, want.Image = "linux", "container", faas.ImageSource{Scheme: "oci", Location: "/srv/functions/image"}
	want.Command, want.Port, want.Concurrency = []string{"/benchmark", "-v"}, 9000, 8
	want.Keepalive, want.StartTimeout = 90*time.Second, 5*time.Second
	want.MinInstances, want.MaxInstances, want.Queue = 1, 4, 10
	want.Timeout = faas.Timeouts{FirstByte: time.Second, Idle: 2 * time.Second, Total: 3 * time.Second}
	want.Limits = faas.Limits{Memory: 256 * mebibyte, CPUs: 2, Pids: 64, Disk: 32 * mebibyte}
	want.Egress = []string{"10.0.0.0/8", "example.org", "192.0.2.1", "internet"}
	want.Ready, want.Health = faas.Ready{Kind: faas.ReadyHTTP, Path: "/ready?x=1"}, "/healthz"
	want.Labels, want.Env = map[string]string{"team": "edge"}, map[string]string{"GREETING": "hello"}
	want.Files = map[string]string{"/app": "/srv/functions/f/src", "/etc/x.conf": "/opt/x.conf"}
	want.VM = &faas.VM{VMM: "firecracker", Root: "ext4", DiskRate: 50 * mebibyte, NetworkRate: 10 * mebibyte}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("decoded (-want +got):\n", diff)
	}
}

func TestDecodeNativeValues(t *testing.T) {
	const image = "image = \"file:./server\"\n"
	for name, test := range map[string]struct {
		text string
		want func(*faas.Function)
	}{
		"one timeout bounds everything": {image + `timeout = "90s"`, func(f *faas.Function) {
			f.Timeout = faas.Timeouts{FirstByte: 90 * time.Second, Idle: 90 * time.Second, Total: 90 * time.Second}
		}},
		"part of the timeouts": {image + `timeout.idle = "5m"`, func(f *faas.Function) { f.Timeout.Idle = 5 * time.Minute }},
		"single-use":           {image + "single-use = true", func(f *faas.Function) { f.SingleUse = faas.GoAtOnce }},
		"auto":                 {image + `sandbox = "auto"`, func(f *faas.Function) { f.Sandbox = "auto" }},
		"callback":             {image + `ready = "callback"`, func(f *faas.Function) { f.Ready.Kind = faas.ReadyCallback }},
		"fraction of a core":   {image + `cpus = 0.25`, func(f *faas.Function) { f.Limits.CPUs = 0.25 }},
		"a bare name": {`image = "file:node"`, func(f *faas.Function) {
			f.Image.Location = "node"
		}},
		"a folder": {`image = "dir:rootfs"`, func(f *faas.Function) {
			f.Image = faas.ImageSource{Scheme: "dir", Location: "/srv/functions/f/rootfs"}
		}},
		"an archive": {`image = "docker-archive:/tmp/x.tar"`, func(f *faas.Function) {
			f.Image = faas.ImageSource{Scheme: "docker-archive", Location: "/tmp/x.tar"}
		}},
		"a reference": {`image = "registry.example:5000/team/app:v1"`, func(f *faas.Function) {
			f.Image = faas.ImageSource{Scheme: "registry", Location: "registry.example:5000/team/app:v1"}
		}},
		"a runtime's path": {image + "sandbox = \"runc\"\nruntime = \"/opt/my-runc/bin/runc\"", func(f *faas.Function) {
			f.Sandbox, f.Runtime = "runc", "/opt/my-runc/bin/runc"
		}},
		"a short reference": {`image = "nginx:1.27"`, func(f *faas.Function) {
			f.Image = faas.ImageSource{Scheme: "registry", Location: "nginx:1.27"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decode(test.text)
			if err != nil {
				t.Fatal(err)
			}
			want := defaults()
			test.want(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error("decoded (-want +got):\n", diff)
			}
		})
	}
}

// Each file in testdata/bad has a line "# want: ERROR" for each problem,
// in their order.
func TestDecodeRefuses(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatal("no test data", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, line := range strings.Split(string(data), "\n") {
				if w, ok := strings.CutPrefix(line, "# want: "); ok {
					want = append(want, w)
				}
			}
			_, err = decode(string(data))
			if err == nil {
				t.Fatal("accepted")
			}
			if faas.KindOf(err) != faas.KindInvalid {
				t.Error("kind is", faas.KindOf(err))
			}
			var problems catalog.Problems
			if !errors.As(err, &problems) {
				t.Errorf("%T wraps no Problems", err)
			}
			if diff := cmp.Diff(strings.Join(want, "\n"), err.Error()); diff != "" {
				t.Error("error (-want +got):\n", diff)
			}
		})
	}
}

func TestDecodeRefusesHugeFile(t *testing.T) {
	_, err := decode("#" + strings.Repeat("x", catalog.MaxFileSize))
	if faas.KindOf(err) != faas.KindInvalid || err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Error("got", err)
	}
}

func TestDecodeUnknownSandboxNamesTheNearest(t *testing.T) {
	_, err := decode("image = \"x\"\nsandbox = \"gvisr\"")
	const want = `function.toml:2:1: unknown sandbox "gvisr" (did you mean "gvisor"?)`
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s…", err, want)
	}
}
