package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/unifaas/unifaas/internal/faas"
)

// A function is what differs between the functions of the benchmark, all of
// which are the program functions/benchmark.
type function struct {
	sandbox     string
	port        int
	concurrency int
	singleUse   bool
	instances   int // kept and at most; 0 leaves both to the platform
	keys        string
	cpus        int
}

const functionPort = 8080

// limits of one instance, for the platform and for its peers.
func limits(cpus int) faas.Limits {
	return faas.Limits{Memory: 128 << 20, CPUs: float64(cpus), Pids: 128, Disk: 64 << 20}
}

func (f function) toml(program string) string {
	l := limits(f.cpus)
	var t strings.Builder
	fmt.Fprintf(&t, "sandbox = %q\nimage = %q\nport = %d\nconcurrency = %d\nsingle-use = %v\n",
		f.sandbox, "file:"+program, f.port, f.concurrency, f.singleUse)
	t.WriteString(f.keys)
	fmt.Fprintf(&t, "memory = %d\ncpus = %g\npids = %d\ndisk = %d\n", l.Memory>>20, l.CPUs, l.Pids, l.Disk>>20)
	if f.instances > 0 {
		fmt.Fprintf(&t, "min-instances = %d\nmax-instances = %d\n", f.instances, f.instances)
	}
	if f.port != functionPort {
		fmt.Fprintf(&t, "[env]\nPORT = \"%d\"\n", f.port)
	}
	return t.String()
}

// coldFunction is the function of the legs that measure starts: each request
// gets an instance of its own.
func coldFunction(sandbox string) function {
	return function{sandbox: sandbox, port: functionPort, concurrency: 1, singleUse: true, cpus: 1}
}

// writeFunctions makes a folder of functions for a platform.
func (b *bench) writeFunctions(dir string, functions map[string]function) error {
	for name, f := range functions {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(path, "function.toml"), []byte(f.toml(b.program)), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// revision is coldFunction for peers: the same program, alone in its root file
// system, with the same limits.
func (b *bench) revision() (*faas.Revision, error) {
	root := filepath.Join(b.work, "rootfs")
	for _, dir := range []string{"", "dev", "proc", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return nil, err
		}
	}
	program, err := os.ReadFile(b.program)
	if err != nil {
		return nil, err
	}
	name := filepath.Base(b.program)
	if err := os.WriteFile(filepath.Join(root, name), program, 0o755); err != nil {
		return nil, err
	}
	f := coldFunction("")
	return &faas.Revision{
		Function: faas.Function{Ref: faas.NewRef("benchmark"), Port: f.port, Limits: limits(f.cpus), Command: []string{"/" + name}},
		Image:    faas.Image{Rootfs: root},
	}, nil
}
