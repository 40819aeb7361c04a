package api

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// An address has room for 108 bytes (unix(7)), and paths may be longer: sockets
// are reached by descriptors.

// DialSocket connects to the unix socket at path, never to one that a symbolic
// link there names: in a jail, the jailed could make it.
func DialSocket(ctx context.Context, path string) (net.Conn, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", fd))
}

// ListenSocket makes a unix socket at path. To close the listener leaves it there.
func ListenSocket(path string) (net.Listener, error) {
	fd, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/%s", fd, filepath.Base(path)), Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("make socket %q: %w", path, err)
	}
	l.SetUnlinkOnClose(false) // by a descriptor that is another's by then
	return l, nil
}
