package container

import (
	"embed"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// embedded holds the launcher where `make build` has put it.
//
//go:embed all:embedded
var embedded embed.FS

var errNoLauncher = errors.New("this build has no launcher")

// openLauncher returns the launcher as a file that can be executed and neither
// changed nor, by anyone but root, read: a function that gets hold of it
// (/proc/PID/exe) has nothing to write to.
func openLauncher(program []byte, dir string) (*os.File, error) {
	if program == nil {
		var err error
		if program, err = embedded.ReadFile("embedded/launcher"); err != nil {
			return nil, errNoLauncher
		}
	}
	f, err := launcherInMemory(program)
	if errors.Is(err, unix.EACCES) { // vm.memfd_noexec = 2
		f, err = launcherOnDisk(program, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open launcher: %w", err)
	}
	return f, nil
}

func launcherInMemory(program []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("unifaas-launcher", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("unifaas-launcher", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "launcher")
	if err := fill(f, program); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// launcherOnDisk has no name. It is opened anew, since what is open for
// writing can't be executed.
func launcherOnDisk(program []byte, dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	w, err := os.OpenFile(dir, unix.O_TMPFILE|unix.O_RDWR, 0o500)
	if err != nil {
		return nil, err
	}
	err = fill(w, program)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	defer func() { _ = w.Close() }() // all is written
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", w.Fd()))
}

func fill(f *os.File, program []byte) error {
	_, err := f.Write(program)
	return errors.Join(err, f.Chmod(0o511))
}
