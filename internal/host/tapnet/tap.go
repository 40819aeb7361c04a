package tapnet

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// tunDevice makes and opens taps (Linux, Documentation/networking/tuntap.rst).
const tunDevice = "/dev/net/tun"

// makeTap makes a tap in the thread's namespace that stays when it is closed,
// until the namespace is gone.
func makeTap(name string) (*os.File, error) {
	tap, err := openTap(name)
	if err != nil {
		return nil, err
	}
	if err := control(tap, "keep tap", unix.TUNSETPERSIST, 1); err != nil {
		tap.Close()
		return nil, err
	}
	return tap, nil
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

// setOwner lets a user open the tap.
func setOwner(tap *os.File, uid int) error {
	return control(tap, "give tap to its user", unix.TUNSETOWNER, uid)
}

func control(tap *os.File, what string, request uint, value int) error {
	raw, err := tap.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := raw.Control(func(fd uintptr) { result = unix.IoctlSetInt(int(fd), request, value) }); err != nil {
		return err
	}
	if result != nil {
		return fmt.Errorf("%s %q: %w", what, tap.Name(), result)
	}
	return nil
}
