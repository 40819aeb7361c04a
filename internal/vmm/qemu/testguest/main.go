// Command testguest is the first process of the Linux guest with which the
// monitors are tested. What it does is said on the kernel's command line, by
// do=WORD; it tells on the console.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("guest failed:", err)
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func run() error {
	for _, fs := range []struct{ kind, at string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := unix.Mount(fs.kind, fs.at, fs.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", fs.at, err)
		}
	}
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	_, what, _ := strings.Cut(string(cmdline), "do=")
	what, _, _ = strings.Cut(strings.TrimSpace(what), " ")
	fmt.Println("guest:", what)
	switch what {
	case "count":
		count()
	case "panic":
		return os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0)
	case "reboot":
		return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	case "devices":
		return devices()
	}
	return nil
}

// count tells numbers until the machine ends. What it has counted is in memory
// that the machine's clones share.
func count() {
	for n := 0; ; n++ {
		fmt.Println("n", n)
		time.Sleep(20 * time.Millisecond)
	}
}

// devices tells what the guest is connected to.
func devices() error {
	order, err := os.ReadFile("/modules/order")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(order)) {
		if err := load("/modules/" + name); err != nil {
			return fmt.Errorf("load module %s: %w", name, err)
		}
	}
	for _, disk := range []string{"vda", "vdb"} {
		block, err := first("/dev/" + disk)
		if err != nil {
			return err
		}
		fmt.Printf("disk %s begins %q\n", disk, bytes.TrimRight(block, "\x00"))
		switch err := write("/dev/" + disk); {
		case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
			fmt.Println("disk", disk, "is read-only")
		case err != nil:
			return err
		default:
			fmt.Println("disk", disk, "was written")
		}
	}
	link, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	fmt.Println("interface", link.HardwareAddr)
	entropy, err := os.ReadFile("/sys/class/misc/hw_random/rng_available")
	if err != nil {
		return err
	}
	fmt.Println("entropy of", strings.TrimSpace(string(entropy)))
	return nil
}

func load(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return unix.FinitModule(int(file.Fd()), "", 0)
}

// first reads a disk's first block. The disk may take a moment to be there.
func first(path string) ([]byte, error) {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		block, err := read(path)
		if !os.IsNotExist(err) || time.Now().After(end) {
			return block, err
		}
	}
}

func read(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	block := make([]byte, 512)
	_, err = file.ReadAt(block, 0)
	return block, err
}

// write fills a disk's second block.
func write(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(bytes.Repeat([]byte("w"), 512), 512)
	return errors.Join(err, file.Sync(), file.Close())
}
