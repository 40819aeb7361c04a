package gvisor

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// keep remembers fd to be closed at the end of the start.
func (s *starter) keep(fd int, err error) (int, error) {
	if err == nil {
		s.fds = append(s.fds, fd)
	}
	return fd, err
}

func (s *starter) open(path string, flags int) (int, error) {
	fd, err := s.keep(unix.Open(path, flags|unix.O_CLOEXEC, 0o600))
	if err != nil {
		return -1, fmt.Errorf("open %q: %w", path, err)
	}
	return fd, nil
}

// pipe makes a pipe, keeps our end in *ours, and returns the child's: the
// writing one if childWrites.
func (s *starter) pipe(ours **os.File, childWrites bool) (int, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return -1, os.NewSyscallError("pipe2", err)
	}
	mine, child := p[1], p[0]
	if childWrites {
		mine, child = p[0], p[1]
	}
	if err := unix.SetNonblock(mine, true); err != nil {
		return -1, errors.Join(err, unix.Close(mine), unix.Close(child))
	}
	*ours = os.NewFile(uintptr(mine), "pipe")
	return s.keep(child, nil)
}

// passText hands over a file in memory that holds text.
func (s *starter) passText(flag string, text []byte) error {
	fd, err := s.keep(unix.MemfdCreate(flag, unix.MFD_CLOEXEC))
	if err != nil {
		return fmt.Errorf("make file for %s: %w", flag, err)
	}
	if _, err := unix.Write(fd, text); err != nil {
		return fmt.Errorf("write file for %s: %w", flag, err)
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return fmt.Errorf("rewind file for %s: %w", flag, err)
	}
	s.process.pass(flag, fd)
	return nil
}

// openDiagnostics makes the sandbox's own standard error: a file in memory,
// for the reason of a sandbox that breaks.
func (s *starter) openDiagnostics() error {
	fd, err := unix.MemfdCreate("diagnostics", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make diagnostics file: %w", err)
	}
	s.inst.diagnostics = os.NewFile(uintptr(fd), "diagnostics")
	return nil
}

// handOver closes what is the child's now: end of file must be seen on the
// pipes when it ends.
func (s *starter) handOver() {
	for _, fd := range s.fds {
		_ = unix.Close(fd)
	}
	s.fds = nil
}

// close closes everything that only the start needs, whatever came of it.
func (s *starter) close() {
	s.handOver()
	for _, end := range []*os.File{s.gate, s.booted} {
		if end != nil {
			_ = end.Close()
		}
	}
}
