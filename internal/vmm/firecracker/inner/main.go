// Command inner is all that runs in the guest of the monitor's real test: it
// counts on the console, and ends the machine when it is told to.
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "inner: this is the first process of a test's guest")
		os.Exit(2)
	}
	for _, fs := range []string{"devtmpfs", "proc", "sysfs"} {
		dir := map[string]string{"devtmpfs": "/dev", "proc": "/proc", "sysfs": "/sys"}[fs]
		_ = os.MkdirAll(dir, 0o755)
		_ = unix.Mount(fs, dir, fs, 0, "")
	}
	console, err := os.OpenFile("/dev/ttyS0", os.O_WRONLY, 0)
	if err != nil {
		os.Exit(3)
	}
	count(console, option("end="), option("at="))
}

// option returns what follows a name on the kernel's command line.
func option(name string) string {
	text, _ := os.ReadFile("/proc/cmdline")
	for _, field := range strings.Fields(string(text)) {
		if value, ok := strings.CutPrefix(field, name); ok {
			return value
		}
	}
	return ""
}

func count(console *os.File, end, at string) {
	last, err := strconv.Atoi(at)
	if err != nil {
		last = -1
	}
	for i := 0; ; i++ {
		fmt.Fprintf(console, "inner: %d\n", i)
		if i == last {
			switch end {
			case "reset":
				_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
			case "panic":
				os.Exit(1) // the first process must not
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
}
