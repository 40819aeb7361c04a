package qemu

import (
	"time"

	"golang.org/x/sys/unix"
)

// timestamp reads the processor's time stamp counter.
func timestamp() uint64

// clockRate measures the rate of the time stamp counter, in kHz: what QEMU's
// translator gives a guest to read is this host's counter. The kernel tells it
// to nobody; what /proc/cpuinfo has is how fast the processor runs just now.
// It takes 5 ms, and is right to about a ten thousandth.
func clockRate() int64 {
	const long = 5 * time.Millisecond
	t0, c0 := clocks()
	for {
		time.Sleep(long)
		t1, c1 := clocks()
		if passed := t1 - t0; passed > 0 && c1 > c0 {
			return int64(float64(c1-c0) * 1e6 / float64(passed))
		}
	}
}

// clocks reads both clocks at one time: the pair of several that took least.
func clocks() (nanoseconds int64, counter uint64) {
	least := ^uint64(0)
	for range 8 {
		before := timestamp()
		var now unix.Timespec
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &now)
		after := timestamp()
		if took := after - before; took < least {
			least, nanoseconds, counter = took, now.Nano(), before+took/2
		}
	}
	return nanoseconds, counter
}
