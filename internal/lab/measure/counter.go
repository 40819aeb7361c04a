package measure

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what processes used between [Count] and [Counter.Read].
type Usage struct {
	Over time.Duration
	// Instructions is how many the processor carried out for them, in user mode
	// and in the kernel, if Counted: many virtual machines have no such counter.
	Instructions uint64
	Counted      bool
	CPU          time.Duration
	Switches     uint64 // context switches
}

// A Counter watches processes. It is not for concurrent use.
type Counter struct {
	pids     []int
	events   []int // perf_event_open(2); nil where they can't be had
	began    time.Time
	cpu      time.Duration
	switches uint64
}

// Count begins to watch processes with all of their threads. Threads that
// begin later count if an event counter is there, which they inherit.
func Count(pids []int) *Counter {
	c := &Counter{pids: pids, began: time.Now()}
	for _, pid := range pids {
		for _, tid := range threads(pid) {
			fd, err := openInstructions(tid)
			if err != nil {
				if !errors.Is(err, unix.ESRCH) { // it has ended
					c.Close()
					c.events = nil
					c.cpu, c.switches = used(pids)
					return c
				}
				continue
			}
			c.events = append(c.events, fd)
		}
	}
	c.cpu, c.switches = used(pids)
	return c
}

func openInstructions(tid int) (int, error) {
	attr := unix.PerfEventAttr{
		Type: unix.PERF_TYPE_HARDWARE, Config: unix.PERF_COUNT_HW_INSTRUCTIONS,
		Size: uint32(unix.PERF_ATTR_SIZE_VER1), Bits: unix.PerfBitInherit,
	}
	return unix.PerfEventOpen(&attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
}

// Read returns what was used until now.
func (c *Counter) Read() Usage {
	u := Usage{Over: time.Since(c.began), Counted: len(c.events) > 0}
	for _, fd := range c.events {
		var b [8]byte
		if n, err := unix.Read(fd, b[:]); err == nil && n == len(b) {
			u.Instructions += binary.NativeEndian.Uint64(b[:])
		}
	}
	cpu, switches := used(c.pids)
	u.CPU, u.Switches = cpu-c.cpu, switches-c.switches
	return u
}

// Close gives the counters back.
func (c *Counter) Close() {
	for _, fd := range c.events {
		_ = unix.Close(fd)
	}
	c.events = nil
}

func threads(pid int) []int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil // it has ended
	}
	var tids []int
	for _, e := range entries {
		if tid, err := strconv.Atoi(e.Name()); err == nil {
			tids = append(tids, tid)
		}
	}
	return tids
}

// used sums what processes have used since they began. Those that have ended
// count nothing, and so do threads that have: their share is lost.
func used(pids []int) (cpu time.Duration, switches uint64) {
	for _, pid := range pids {
		for _, tid := range threads(pid) {
			dir := fmt.Sprintf("/proc/%d/task/%d", pid, tid)
			cpu += onProcessor(dir)
			switches += switched(dir)
		}
	}
	return cpu, switches
}

// onProcessor reads schedstat: nanoseconds on a processor, waiting, slices.
func onProcessor(dir string) time.Duration {
	text, err := os.ReadFile(filepath.Join(dir, "schedstat"))
	if err != nil {
		return 0
	}
	first, _, _ := bytes.Cut(text, []byte{' '})
	n, err := strconv.ParseInt(string(first), 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(n)
}

// switched reads voluntary_ctxt_switches and nonvoluntary_ctxt_switches.
func switched(dir string) (sum uint64) {
	text, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if _, value, ok := strings.Cut(line, "voluntary_ctxt_switches:"); ok {
			if n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64); err == nil {
				sum += n
			}
		}
	}
	return sum
}
