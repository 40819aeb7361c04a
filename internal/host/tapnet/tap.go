package tapnet

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// tunDevice makes and opens taps (Linux, Documentation/networking/tuntap.rst).
const tunDevice = "/dev/net/tun"

// makeTap makes a tap in the thread's namespace that stays when nobody has it
// open, until the namespace is gone.
func makeTap(name string) error {
	tap, err := openTap(name)
	if err != nil {
		return err
	}
	defer tap.Close()
	raw, err := tap.SyscallConn()
	if err != nil {
		return err
	}
	var kept error
	err = raw.Control(func(fd uintptr) { kept = unix.IoctlSetInt(int(fd), unix.TUNSETPERSIST, 1) })
	if err := errors.Join(err, kept); err != nil {
		return fmt.Errorf("keep tap %q: %w", name, err)
	}
	return nil
}

// openTap opens the tap of that name in the thread's namespace; without one it
// makes one. The flags are those that Firecracker and QEMU set themselves.
func openTap(name string) (*os.File, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, fmt.Errorf("open tap %q: %w", name, err)
	}
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: tunDevice, Err: err}
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("open tap %q: %w", name, err)
	}
	// Not before: who waits for a descriptor without a tap is never woken.
	return os.NewFile(uintptr(fd), name), nil
}
