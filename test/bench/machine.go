package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/unifaas/unifaas/internal/guest/linux"
	"github.com/unifaas/unifaas/internal/guest/linux/kernel"
	"github.com/unifaas/unifaas/test/bench/measure"
)

// manyMachines are as many whose memory is measured together.
const manyMachines = 10

// answersWithin is how long a machine's function may take until its first
// answer where no processor executes the guest but a program: milliseconds.
var answersWithin = map[kernel.Kind]float64{kernel.KindSmall: 1200, kernel.KindDebian: 3000}

// machine measures what a Linux guest is beside its start: what it boots, and
// the memory of idle ones.
func (b *bench) machine(ctx context.Context) ([]measure.Row, error) {
	const sandbox = "linux"
	if only := b.options.sandboxes; len(only) > 0 && !slices.Contains(only, sandbox) {
		return nil, nil
	}
	folder, err := kernels()
	if err != nil {
		b.say("without %s: %v", sandbox, err)
		return []measure.Row{measure.Missing("kernel and image of a Linux guest", "MiB", "", nil, err.Error())}, nil
	}
	k, err := kernel.NewStore(folder).Default()
	if err != nil {
		return nil, err
	}
	rows, err := b.machineImage(ctx, k)
	if err != nil {
		return rows, err
	}
	f := b.newField("machine")
	functions := map[string]function{"benchmark": coldFunction(sandbox)}
	for n := range manyMachines {
		functions[measured(n)] = function{sandbox: sandbox, port: functionPort, concurrency: 1, cpus: 1}
	}
	for name, fn := range functions {
		fn.keys = "vm.vmm = \"qemu-microvm\"\n"
		functions[name] = fn
	}
	p, err := f.platform(ctx, sandbox, "qemu-microvm", functions)
	if err != nil {
		b.say("without %s: %v", sandbox, err)
		return append(rows, measure.Missing("private memory of an idle machine", "MiB", "", nil, err.Error())), f.close()
	}
	starts, err := b.machineStarts(ctx, p, k)
	rows = append(rows, starts...)
	if err == nil {
		var memory []measure.Row
		memory, err = b.machineMemory(ctx, p)
		rows = append(rows, memory...)
	}
	return rows, errors.Join(err, f.close())
}

// machineImage measures what a machine of the benchmark's function boots.
func (b *bench) machineImage(ctx context.Context, k *kernel.Kernel) ([]measure.Row, error) {
	dir, err := b.dir("machine-images")
	if err != nil {
		return nil, err
	}
	var times measure.Sample
	bytes := int64(0)
	for n := range b.scale.coldRounds {
		begin := time.Now()
		image, err := linux.MakeImage(ctx, b.rev, linux.ImageOptions{
			Dir: filepath.Join(dir, fmt.Sprint(n)), Kernel: k, Drivers: []kernel.Driver{kernel.DriverMMIO, kernel.DriverNet},
		})
		if err != nil {
			return nil, err
		}
		times = append(times, milliseconds(time.Since(begin)))
		bytes = 0
		for _, file := range []string{k.ELF(), image.Initrd, image.Disk} {
			if file == "" {
				continue
			}
			info, err := os.Stat(file)
			if err != nil {
				return nil, err
			}
			bytes += info.Size()
		}
	}
	return []measure.Row{
		measure.Alone("time to make the image of a Linux guest", "ms", times).Noted("with the kernel %s", k.ID()),
		measure.Alone("kernel and image of a Linux guest", "MiB", measure.Sample{float64(bytes) / (1 << 20)}).Noted("an uncompressed kernel"),
	}, nil
}

// machineStarts measures cold starts by themselves.
func (b *bench) machineStarts(ctx context.Context, p *platform, k *kernel.Kernel) ([]measure.Row, error) {
	start := coldOurs(p)
	var times measure.Sample
	for n := range b.scale.coldRounds + 1 {
		took, err := start(ctx, n)
		if err != nil {
			return nil, err
		}
		if n > 0 { // the first makes the image
			times = append(times, took)
		}
	}
	const name = coldStart + ", linux on QEMU microvm, median"
	row := measure.Alone(name, "ms", times)
	if limit, ok := answersWithin[k.Kind]; ok {
		row = measure.Limit(name, "ms", measure.Sample{times.Median()}, limit)
	}
	return []measure.Row{row.Noted("kernel %s; the slowest of %d took %.0f ms", k.ID(), len(times), times.Max())}, nil
}

// machineMemory measures idle machines: the first while it is alone, then all.
func (b *bench) machineMemory(ctx context.Context, p *platform) ([]measure.Row, error) {
	one := *b
	one.scale.requests = 1
	alone, together, err := one.measureInstances(ctx, p, manyMachines)
	if err != nil {
		return nil, err
	}
	var own, shared measure.Sample
	for _, m := range together {
		own, shared = append(own, m.sum()), append(shared, m.shared)
	}
	return []measure.Row{
		measure.Alone("private memory of an idle machine", "MiB", measure.Sample{alone.sum()}).Noted("alone: what files of it are in the kernel's cache counts as private, %.1f MiB", alone.cached),
		measure.Alone("shared memory of an idle machine", "MiB", measure.Sample{alone.shared}),
		measure.Alone(fmt.Sprintf("private memory of each of %d idle machines", manyMachines), "MiB", own),
		measure.Alone(fmt.Sprintf("shared memory of each of %d idle machines", manyMachines), "MiB", shared),
	}, nil
}
