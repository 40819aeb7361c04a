package tapnet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// An Error says why a network can't be made.
type Error struct {
	Err    error  // what failed
	Remedy string // what would change that; "" when nothing is known
}

func (e *Error) Error() string {
	text := fmt.Sprintf("make a machine's network: %v", e.Err)
	if e.Remedy != "" {
		text += "; " + e.Remedy
	}
	return text
}

// Unwrap returns what failed.
func (e *Error) Unwrap() error { return e.Err }

// Usable tells whether networks can be made here, by making one. It leaves
// nothing behind. Its error is an [*Error].
func Usable() error {
	n, err := New(DefaultPlan())
	if err != nil {
		return explain(err)
	}
	defer n.Close()
	tap, err := n.Open()
	if err != nil {
		return explain(err)
	}
	tap.Close()
	return nil
}

func explain(err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	e := &Error{Err: err}
	var file *fs.PathError
	atTun := errors.As(err, &file) && file.Path == tunDevice
	switch {
	case atTun && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)):
		e.Remedy = "load the module: modprobe tun"
	case errors.Is(err, unix.EROFS):
		e.Remedy = "the platform must be able to write to /proc/sys/net: in a container, it must be privileged"
	case errors.Is(err, unix.ENOSPC):
		e.Remedy = "raise user.max_net_namespaces (sysctl)"
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		e.Remedy = "it needs root"
	case errors.Is(err, fs.ErrPermission):
		e.Remedy = "it needs the capabilities CAP_SYS_ADMIN and CAP_NET_ADMIN and the device " + tunDevice
	}
	return e
}
