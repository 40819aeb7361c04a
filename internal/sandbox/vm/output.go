package vm

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openOutput opens the file behind output once more, for a monitor. A duplicate would not do: it shares the platform's own setting not to block.
func openOutput(output *os.File) (*os.File, error) {
	raw, err := output.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	var openErr error
	err = raw.Control(func(theirs uintptr) {
		// For reading, too: a FIFO that nobody reads would break its writer.
		fd, openErr = unix.Open(fmt.Sprintf("/proc/self/fd/%d", theirs), unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	})
	if err = errors.Join(err, openErr); err != nil {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		return nil, fmt.Errorf("open the instance's output: %w", err)
	}
	return os.NewFile(uintptr(fd), output.Name()), nil
}

// keepOutput opens the file behind output once more, for the platform's own
// writes: output itself is its caller's. It does not block a thread.
func keepOutput(output *os.File) (*os.File, error) {
	if output == nil { // nobody reads it any more
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	var kept *os.File
	raw, err := output.SyscallConn()
	if err != nil {
		return nil, err
	}
	var openErr error
	err = raw.Control(func(fd uintptr) {
		kept, openErr = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDWR|unix.O_NONBLOCK, 0)
	})
	return kept, errors.Join(err, openErr)
}

// seedSize is what a guest's kernel wants of entropy before it is sure of it,
// in bytes.
const seedSize = 32

// seed is fresh entropy for a guest: two machines that begin alike, or are
// copies of each other, must not draw the same numbers.
func seed() []byte {
	b := make([]byte, seedSize)
	_, _ = rand.Read(b) // never fails
	return b
}
