package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/guest/linux/cpio"
	"github.com/unifaas/unifaas/internal/image/closure"
	"github.com/unifaas/unifaas/test/guest/job"
)

// A builder makes the initial file system of the guest.
type builder struct {
	out      string // folder for what is made
	kernel   kernel
	busybox  string        // a static busybox
	diskFile string        // "" for none
	extra    []string      // flags for every test
	timeout  time.Duration // of each job
}

// standIn is the guest's "go".
//
//go:embed go.sh
var standIn string

// guestRoot is the folder that the guest's init makes its root.
const guestRoot = "/root-to-be"

// build makes everything that tasks need and returns the archive's path.
func (b builder) build(ctx context.Context, tasks []task) (string, error) {
	file := filepath.Join(b.out, "initial.cpio")
	f, err := os.Create(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	a := cpio.NewWriter(f)
	a.Folder("/dev") // where the kernel finds its console
	if err := b.programs(ctx, a); err != nil {
		return "", err
	}
	plan, err := b.disk(a)
	if err != nil {
		return "", err
	}
	for _, t := range tasks {
		j, err := b.task(ctx, a, t)
		if err != nil {
			return "", fmt.Errorf("task %s: %w", t.name, err)
		}
		plan.Jobs = append(plan.Jobs, j)
	}
	text, err := json.Marshal(plan)
	if err != nil {
		return "", err
	}
	a.Text(guestRoot+job.File, string(text))
	return file, errors.Join(a.Close(), f.Close())
}

// diskModules are what a virtual disk needs.
var diskModules = []string{"virtio_pci", "virtio_blk"}

// disk makes the plan for the guest's disk, if there is to be one.
func (b builder) disk(a *cpio.Writer) (plan job.Plan, err error) {
	if b.diskFile == "" {
		return plan, nil
	}
	modules, err := b.kernel.modules.WithNeeded(diskModules...)
	if err != nil {
		return plan, err
	}
	return job.Plan{Modules: b.putModules(a, modules), Disk: "/dev/vda"}, nil
}

// putModules returns the modules' paths in the guest.
func (b builder) putModules(a *cpio.Writer, modules []string) []string {
	var paths []string
	for _, m := range modules {
		at := path.Join(guestModules, m+".ko")
		a.File(guestRoot+at, b.kernel.modules[m])
		paths = append(paths, at)
	}
	return paths
}

// makeDisk makes an empty disk with a file system that can do what those of
// most machines can, and tmpfs of older kernels can't.
func makeDisk(ctx context.Context, file string) error {
	if err := os.RemoveAll(file); err != nil {
		return err
	}
	return command(ctx, "", nil, "mkfs.ext4", "-q", file, "8G") // sparse
}

// programs puts what every guest has.
func (b builder) programs(ctx context.Context, a *cpio.Writer) error {
	for _, p := range []struct{ name, pkg, at string }{
		{"init", "./test/guest/init", "/init"},
		{"platform", "./test/guest/platform", guestRoot + "/platform"},
	} {
		file := filepath.Join(b.out, p.name)
		if err := goTool(ctx, "build", "-trimpath", "-ldflags", "-s -w", "-o", file, p.pkg); err != nil {
			return err
		}
		a.File(p.at, file)
	}
	a.File(guestRoot+"/bin/busybox", b.busybox)
	a.Program(guestRoot+"/bin/go", standIn)
	a.File(guestRoot+"/unifaas", "build/unifaas")
	a.Tree(guestRoot+"/functions/hello-go", "build/functions/hello-go", cpio.Change{Owner0: true})
	a.Text(guestRoot+"/etc/passwd", "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
	a.Text(guestRoot+"/etc/group", "root:x:0:\nnogroup:x:65534:\n")
	return nil
}

// task puts what a task needs and returns the job that it becomes.
func (b builder) task(ctx context.Context, a *cpio.Writer, t task) (job.Job, error) {
	modules, err := b.kernel.modules.WithNeeded(t.modules...)
	if err != nil {
		return job.Job{}, err
	}
	drivers, err := b.kernel.modules.WithNeeded(t.drivers...)
	if err != nil {
		return job.Job{}, err
	}
	j := t.job(b.putModules(a, modules), b.putModules(a, drivers), b.extra, b.timeout)
	if t.supply != nil {
		s, err := t.supply(ctx, b)
		if err != nil {
			return j, err
		}
		for at, file := range s.files {
			a.File(guestRoot+at, file)
		}
		j.Env = append(s.env, j.Env...) // of two of one name a program takes the first
	}
	for _, p := range t.programs {
		if err := putProgram(a, p); err != nil {
			return j, err
		}
	}
	for _, pkg := range t.builds {
		file := filepath.Join(b.out, strings.ReplaceAll(pkg, "/", "-"))
		if err := goTool(ctx, "build", "-trimpath", "-ldflags", "-s -w", "-o", file, "./"+pkg); err != nil {
			return j, err
		}
		a.File(guestRoot+path.Join(guestPrograms, pkg, "program"), file)
	}
	if t.pkg == "" {
		return j, nil
	}
	file := filepath.Join(b.out, strings.ReplaceAll(t.pkg, "/", "-")+".test")
	if err := goTool(ctx, "test", "-c", "-trimpath", "-ldflags", "-s -w", "-o", file, "./"+t.pkg); err != nil {
		return j, err
	}
	a.File(guestRoot+j.Dir+"/test", file)
	if data := filepath.Join(t.pkg, "testdata"); exists(data) {
		a.Tree(guestRoot+j.Dir+"/testdata", data, cpio.Change{Owner0: true})
	}
	return j, nil
}

// putProgram puts a program of the host, with the libraries that it needs.
func putProgram(a *cpio.Writer, name string) error {
	program, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("%w; install it", err)
	}
	needed, err := closure.NewFinder("/etc/ld.so.cache", filepath.SplitList(os.Getenv("PATH"))).Find(program)
	if err != nil {
		return err
	}
	for _, file := range append([]string{program}, needed.Files...) {
		a.File(guestRoot+file, file) // what a link leads to, in its place
	}
	for at, target := range needed.Links {
		a.Link(guestRoot+at, target)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func goTool(ctx context.Context, args ...string) error {
	return command(ctx, "", []string{"CGO_ENABLED=0"}, "go", args...)
}
