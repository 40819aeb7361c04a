package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/control"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

// TestFirstUse does what the README has a newcomer do.
func TestFirstUse(t *testing.T) {
	p := newPlatform(t)
	p.functions = samples(t)
	p.start(t)
	for _, c := range []struct{ function, path, says string }{
		{"hello-go", "/hello", "ello"},
		{"hello-node", "/", "ello"},
		{"benchmark", "/hello", "ello"},
		{"benchmark", "/fib?n=20", "6765"},
	} {
		t.Run(c.function+c.path, func(t *testing.T) {
			if c.function == "hello-node" {
				needsNode(t)
			}
			if body := p.want(t, c.function, c.path); !strings.Contains(body, c.says) {
				t.Errorf("answered %q, want something with %q", body, c.says)
			}
		})
	}
	for name, f := range p.list(t) {
		if f.Error != "" && name != "hello-node" {
			t.Errorf("function %s: %s", name, f.Error)
		}
	}
	for _, w := range []string{"/fft?n=1024", "/matrix?n=64", "/read", "/unzip", "/alloc?mib=8", "/static"} {
		if a := p.get(t, "benchmark", w); a.status != 200 {
			t.Errorf("benchmark%s: %d %s", w, a.status, a.body)
		}
	}
	p.stop(t)
}

// TestSamplesInEverySandbox serves the same programs from the same files,
// which name another sandbox each time.
func TestSamplesInEverySandbox(t *testing.T) {
	for _, sandbox := range []string{"gvisor", "container", "runc"} {
		t.Run(sandbox, func(t *testing.T) {
			needsSandbox(t, sandbox)
			wantSamples(t, newPlatform(t), sandbox, "")
		})
	}
	t.Run("docker", func(t *testing.T) {
		p, _ := newDockerPlatform(t)
		wantSamples(t, p, "docker", "")
	})
	t.Run("docker/runsc", func(t *testing.T) {
		p, daemon := newDockerPlatform(t)
		wantSamples(t, p, "docker", daemon.Runsc(t))
	})
}

// wantSamples serves two of the samples. runtime is the OCI runtime; "" is
// the sandbox's default.
func wantSamples(t *testing.T, p *platform, sandbox, runtime string) {
	needsNode(t)
	lines := fmt.Sprintf("sandbox = %q\n", sandbox)
	if runtime != "" {
		lines += fmt.Sprintf("runtime = %q\n", runtime)
	}
	for _, name := range []string{"hello-node", "benchmark"} {
		p.writeSample(t, samples(t), name, lines)
	}
	p.start(t)
	if body := p.want(t, "hello-node", "/"); !strings.Contains(body, "ello") {
		t.Errorf("hello-node answered %q", body)
	}
	for _, path := range []string{"/hello", "/fib?n=20", "/fft?n=1024", "/matrix?n=64", "/read", "/unzip", "/alloc?mib=8", "/static"} {
		p.want(t, "benchmark", path)
	}
	p.stop(t)
}

// writeSample copies a sample function and puts lines before its own.
func (p *platform) writeSample(t *testing.T, samples, name, lines string) {
	t.Helper()
	dir := filepath.Join(p.functions, name)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(samples, name))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "function.toml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append([]byte(lines), text...), 0o600); err != nil {
		t.Fatal(err)
	}
}

// samples returns the folder of the sample functions, built. UNIFAAS_SAMPLES
// names one that is.
func samples(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("UNIFAAS_SAMPLES")
	if dir == "" {
		out, err := exec.Command("make", "-C", "../..", "functions").CombinedOutput()
		if err != nil {
			t.Fatalf("make functions: %v\n%s", err, out)
		}
		dir = "../../build/functions"
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func needsNode(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		sandboxtest.Skip(t, "gvisor", sandboxtest.Missing{What: "node", Remedy: "apt-get install nodejs"})
	}
}

// TestWithoutNodeTheRestServes takes node out of the platform's PATH.
func TestWithoutNodeTheRestServes(t *testing.T) {
	p := newPlatform(t)
	p.functions = samples(t)
	p.env = []string{"PATH=" + p.tmp} // of what is set twice the last counts
	p.start(t)
	f := p.awaitFunction(t, "hello-node", "to be judged", func(f control.Function) bool { return f.Error != "" || f.Revision != "" })
	if !strings.Contains(f.Error, "node") {
		t.Errorf("hello-node without node: %+v", f)
	}
	p.want(t, "hello-go", "/hello")
	wantProblem(t, p.get(t, "hello-node", "/"), 503)
}
