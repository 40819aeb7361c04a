package runc

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openOutput opens the file behind output once more. A duplicate would not do:
// it shares the platform's own setting not to block, and a program that does
// not expect that loses what it writes into a full pipe. The file is given to
// the function's user, so that it can open its own /dev/stdout.
func openOutput(output *os.File, uid, gid uint32) (*os.File, error) {
	raw, err := output.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	var openErr error
	err = raw.Control(func(theirs uintptr) {
		// For reading, too: a FIFO that nobody reads would break its writer.
		fd, openErr = unix.Open(fmt.Sprintf("/proc/self/fd/%d", theirs), unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
		if openErr == nil {
			openErr = own(fd, uid, gid)
		}
	})
	if err = errors.Join(err, openErr); err != nil {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		return nil, fmt.Errorf("open the instance's output: %w", err)
	}
	return os.NewFile(uintptr(fd), output.Name()), nil
}

// own gives a FIFO to a user. Other files stay whose they are.
func own(fd int, uid, gid uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil
	}
	return unix.Fchown(fd, int(uid), int(gid))
}
