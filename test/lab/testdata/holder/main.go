// Command holder holds as many bytes of memory as its first argument says, and
// uses as many milliseconds of processor time in each second as its second one
// says, until it is killed.
package main

import (
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		os.Exit(1)
	}
	burns, err := strconv.Atoi(os.Args[2])
	if err != nil {
		os.Exit(1)
	}
	held, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		os.Exit(1)
	}
	for i := 0; i < n; i += 4096 {
		held[i] = 1
	}
	burn(time.Duration(burns) * time.Millisecond)
}

// burn uses so much processor time a second, all that this program does
// counted in.
func burn(share time.Duration) {
	const step = 10 * time.Millisecond
	runtime.LockOSThread()
	begin, used := time.Now(), processorTime()
	for {
		pause := unix.NsecToTimespec(int64(step))
		_ = unix.Nanosleep(&pause, nil) // an early end is made up for
		due := used + time.Duration(time.Since(begin).Seconds()*float64(share))
		for processorTime() < due {
		}
	}
}

func processorTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		os.Exit(1)
	}
	return time.Duration(t.Nano())
}
