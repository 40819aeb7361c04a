package firecracker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/vmm/firecracker/api"
)

// awaitSocket returns when something listens on the socket name in dir. It
// waits for the file to appear rather than looking for it again and again:
// looking late would be time that every start takes longer.
func awaitSocket(ctx context.Context, dir, name string) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("inotify_init1", err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO); err != nil {
		return &os.PathError{Op: "inotify_add_watch", Path: dir, Err: err}
	}
	stop := context.AfterFunc(ctx, func() { _ = events.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	path := filepath.Join(dir, name)
	buffer := make([]byte, 4<<10)
	for {
		if _, err := os.Lstat(path); err == nil {
			return awaitListener(ctx, path)
		}
		// Whatever has happened, what counts is whether the file is there now.
		if _, err := events.Read(buffer); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("wait for the API socket: %w", err)
		}
	}
}

// listenPause is between looks whether a socket that exists has a listener,
// which is a matter of two system calls.
const listenPause = 200 * time.Microsecond

func awaitListener(ctx context.Context, path string) error {
	for {
		conn, err := api.DialSocket(ctx, path)
		if err == nil {
			return conn.Close()
		}
		if !errors.Is(err, unix.ECONNREFUSED) {
			return fmt.Errorf("connect to the API socket: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("connect to the API socket: %w", context.Cause(ctx))
		case <-time.After(listenPause):
		}
	}
}
