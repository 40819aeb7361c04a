package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	jobs, accel, kernel, busybox, out, run string
	memory, cpus, tscKHz                   int
	timeout                                time.Duration
}

func parse() options {
	var names []string
	for _, t := range tasks {
		names = append(names, t.name)
	}
	var o options
	flag.StringVar(&o.jobs, "jobs", "", "comma-separated list of `jobs`: "+strings.Join(names, ", ")+"; default: all")
	flag.StringVar(&o.run, "run", "", "only tests that match this `pattern`, as go test's -run")
	flag.StringVar(&o.accel, "accel", "", "`accelerators` of QEMU, the first that works; default: kvm where there is /dev/kvm, then tcg")
	flag.StringVar(&o.kernel, "kernel", "", "kernel `image` to boot instead of Debian's; it can't load modules")
	flag.StringVar(&o.busybox, "busybox", "", "static busybox `program` instead of Debian's")
	flag.StringVar(&o.out, "out", "build/guest", "`folder` for what is made")
	flag.IntVar(&o.memory, "memory", 4096, "`MiB` of the guest")
	flag.IntVar(&o.cpus, "cpus", 0, "processors of the guest; default: 2, or 1 where guests in it are emulated twice")
	flag.IntVar(&o.tscKHz, "tsc-khz", hostKHz(), "speed of the processor's clock in `kHz`, for tcg")
	flag.DurationVar(&o.timeout, "timeout", 40*time.Minute, "of each job")
	flag.Parse()
	if o.accel == "" {
		o.accel = "tcg"
		if exists("/dev/kvm") {
			o.accel = "kvm,tcg"
		}
	}
	return o
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := test(ctx, parse())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

func test(ctx context.Context, o options) error {
	picked, unknown := chosen(o.jobs)
	if len(unknown) > 0 {
		return fmt.Errorf("there are no jobs %q", unknown)
	}
	picked = withoutNeedy(picked)
	out, err := filepath.Abs(o.out)
	if err != nil {
		return err
	}
	packages := filepath.Join(out, "packages")
	if err := os.MkdirAll(packages, 0o755); err != nil {
		return err
	}
	b := builder{out: out, kernel: kernel{image: o.kernel}, busybox: o.busybox, timeout: o.timeout}
	if b.kernel.image == "" {
		if b.kernel, err = findKernel(ctx, packages); err != nil {
			return err
		}
	}
	if b.busybox == "" {
		root, err := unpack(ctx, packages, "busybox-static")
		if err != nil {
			return err
		}
		b.busybox = filepath.Join(root, "bin", "busybox")
	}
	if o.run != "" {
		b.extra = []string{"-test.run=" + o.run}
	}
	if len(b.kernel.modules) > 0 {
		b.diskFile = filepath.Join(out, "disk.img")
		if err := makeDisk(ctx, b.diskFile); err != nil {
			return err
		}
	}
	initial, err := b.build(ctx, picked)
	if err != nil {
		return err
	}
	m := machine{
		kernel: b.kernel.image, initial: initial, disk: b.diskFile, console: filepath.Join(out, "console.log"),
		memory: o.memory, cpus: o.cpus, tscKHz: o.tscKHz, nested: !slices.ContainsFunc(picked, func(t task) bool { return len(t.drivers) == 0 }),
	}
	report := newReport(os.Stdout, out, picked)
	err = m.run(ctx, strings.Split(o.accel, ","), report.handle)
	return errors.Join(err, report.result())
}
