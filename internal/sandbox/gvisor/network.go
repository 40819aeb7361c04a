package gvisor

import (
	"fmt"
	"net"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/host/netns"
)

const (
	ownNetwork  = "--network=sandbox"
	hostNetwork = "--network=host"
)

func (d *Driver) networkFlag() string {
	if d.options.HostNetwork {
		return hostNetwork
	}
	return ownNetwork
}

// enterNetwork opens the network namespace through which the function's port
// is reached, if that is the way in.
func (i *instance) enterNetwork() error {
	if !i.driver.options.HostNetwork {
		return nil
	}
	var err error
	i.netns, err = netns.OfProcess(i.pid)
	return err
}

// raiseLoopback switches the loopback device on in a new network namespace,
// for a function that uses the host's network stack.
func raiseLoopback(args []string) error {
	if !slices.Contains(args, hostNetwork) {
		return nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(fd) }()
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(uint16(net.FlagUp))
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(req)))
	if errno != 0 {
		return fmt.Errorf("switch loopback on: %w", errno)
	}
	return nil
}
