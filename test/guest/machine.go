package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/unifaas/unifaas/test/guest/job"
)

// A machine is a virtual machine to be run.
type machine struct {
	kernel, initial string // files
	disk            string // raw image, "" for none
	console         string // file for what the kernel says
	memory          int    // MiB
	cpus            int    // processors; 0 is as many as suit it
	nested          bool   // all that runs in it are machines
	tscKHz          int    // see arguments
}

// errNoBoot is why an accelerator is given up for the next.
var errNoBoot = errors.New("the guest has not booted")

// bootTimes bound the time until the guest's first event. That KVM can be
// opened does not mean that it runs anything.
var bootTimes = map[string]time.Duration{"kvm": 30 * time.Second, "tcg": 5 * time.Minute}

// errHung is why a machine is ended that had booted.
var errHung = errors.New("the guest gave no sign of life")

// silence is how long a guest may give none; a busy host slows it.
const silence = 12 * job.AliveEvery

// run runs the machine with the first accelerator that boots it, and calls
// handle for each event until the machine ends.
func (m machine) run(ctx context.Context, accelerators []string, handle func(job.Event)) error {
	err := errNoBoot
	for _, accel := range accelerators {
		if err = m.runWith(ctx, accel, handle); !errors.Is(err, errNoBoot) {
			return err
		}
		fmt.Printf("with %s: %v\n", accel, err)
	}
	return err
}

func (m machine) runWith(ctx context.Context, accel string, handle func(job.Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", m.arguments(accel)...)
	var said bytes.Buffer
	qemu.Stderr = &said
	events, err := qemu.StdoutPipe()
	if err != nil {
		return err
	}
	if err := qemu.Start(); err != nil {
		return fmt.Errorf("%w; install the package qemu-system-x86", err)
	}
	booted := false
	late := time.AfterFunc(bootTimes[accel], cancel)
	defer late.Stop()
	err = read(events, func(e job.Event) {
		booted = true
		late.Reset(silence)
		if e.Kind == job.Hello {
			e.Text += "; " + accel
		}
		handle(e)
	})
	hung := !late.Stop()
	if waited := qemu.Wait(); err == nil {
		err = waited
	}
	switch {
	case !booted:
		return fmt.Errorf("%w: %w: %s (its console: %s)", errNoBoot, err, bytes.TrimSpace(said.Bytes()), m.console)
	case hung:
		return fmt.Errorf("%w for %v (its console: %s)", errHung, silence, m.console)
	}
	return err
}

// read calls handle for each line that is an event. Others are noise of the
// line's beginning.
func read(r io.Reader, handle func(job.Event)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var e job.Event
		if json.Unmarshal(bytes.TrimSpace(lines.Bytes()), &e) == nil && e.Kind != "" {
			handle(e)
		}
	}
	return lines.Err()
}

// twice reports whether guests of the machine are emulated by an emulated processor.
// QEMU then loses interrupts at times: it drops the guest's virtual one from a
// processor's word of requests without a lock (target/i386, svm_helper.c), and with it
// what another of its threads writes there at that moment. So the machine has one
// processor, for with more a guest in it starts anew at times, and a timer that fires
// again by itself, for else all may wait for the one interrupt that was lost.
func (m machine) twice(accel string) bool { return m.nested && accel == "tcg" }

func (m machine) processors(accel string) int {
	switch {
	case m.cpus > 0:
		return m.cpus
	case m.twice(accel):
		return 1
	}
	return 2
}

func (m machine) arguments(accel string) []string {
	cmdline := "console=ttyS0 quiet panic=-1 rdinit=/init cgroup_no_v1=all"
	if m.twice(accel) {
		cmdline += " nohz=off highres=off"
	}
	cpu := "host"
	if accel == "tcg" {
		cpu = "max" // with AMD's virtualization, which is emulated, too
		// Emulated timers are too coarse for the kernel to find out how fast the
		// processor's clock is, which is the host's.
		if m.tscKHz > 0 {
			cmdline += fmt.Sprintf(" tsc_early_khz=%d", m.tscKHz)
		}
	}
	arguments := []string{
		"-machine", "q35", "-accel", accel, "-cpu", cpu, "-smp", strconv.Itoa(m.processors(accel)), "-m", strconv.Itoa(m.memory),
		"-display", "none", "-monitor", "none", "-nic", "none", "-no-reboot",
		"-serial", "file:" + m.console, "-serial", "stdio",
		"-kernel", m.kernel, "-initrd", m.initial, "-append", cmdline,
	}
	if m.disk != "" {
		// What is on it matters to this run alone.
		arguments = append(arguments, "-drive", "if=virtio,format=raw,cache=unsafe,file="+m.disk)
	}
	return arguments
}

// hostKHz reads the speed of the processor's clock, 0 if it isn't told.
func hostKHz() int {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) != "cpu MHz" {
			continue
		}
		mhz, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			return 0
		}
		return int(mhz * 1000)
	}
	return 0
}
