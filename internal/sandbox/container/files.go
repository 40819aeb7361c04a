package container

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// files are what a start opens for the first process.
type files struct {
	gate   *os.File   // our end
	child  []*os.File // its descriptors 1, 2, ...
	theirs []*os.File // closed once the process has them
}

func (f *files) give(file *os.File) {
	f.child = append(f.child, file)
	f.theirs = append(f.theirs, file)
}

// closeTheirs closes what is the child's now: the end of the gate must be
// seen when the child ends.
func (f *files) closeTheirs() {
	for _, t := range f.theirs {
		_ = t.Close()
	}
	f.theirs = nil
}

func (f *files) close() {
	f.closeTheirs()
	if f.gate != nil {
		_ = f.gate.Close()
	}
}

// openFiles opens what the process is handed, in the order of its descriptors.
func (s *starter) openFiles() error {
	output, err := duplicate(s.spec.Output)
	if err != nil {
		return fmt.Errorf("duplicate output: %w", err)
	}
	s.files.give(output)
	s.files.child = append(s.files.child, output)
	if err := s.openGateFiles(); err != nil {
		return err
	}
	status, err := os.OpenFile(filepath.Join(s.spec.Dir, statusName), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	s.inst.status = status
	s.files.child = append(s.files.child, status)
	if s.driver.ids == nil {
		return s.openDialer()
	}
	return nil
}

func (s *starter) openGateFiles() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	s.files.give(os.NewFile(uintptr(pair[1]), "gate"))
	if err := unix.SetNonblock(pair[0], true); err != nil {
		return errors.Join(err, unix.Close(pair[0]))
	}
	s.files.gate = os.NewFile(uintptr(pair[0]), "gate")
	return nil
}

// openDialer makes the socket at which the first process hands out others.
func (s *starter) openDialer() error {
	err := inDir(s.spec.Dir, func(dir string) error {
		l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: filepath.Join(dir, dialName)})
		if err != nil {
			return err
		}
		l.SetUnlinkOnClose(false) // its name is of use as long as the instance
		defer func() { _ = l.Close() }()
		f, err := l.File()
		if err != nil {
			return err
		}
		s.files.give(f)
		return nil
	})
	if err != nil {
		return fmt.Errorf("listen for dials: %w", err)
	}
	return nil
}

// inDir calls f with a short name of dir: a socket's path has 108 bytes at
// most.
func inDir(dir string, f func(dir string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return f(fmt.Sprintf("/proc/self/fd/%d", d.Fd()))
}

// duplicate returns another descriptor of f. It does without os.File.Fd, which
// would make the caller's end blocking.
func duplicate(f *os.File) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var dupErr error
	err = raw.Control(func(from uintptr) { fd, dupErr = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, dupErr); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "output"), nil
}

// send sends one packet through the gate.
func (f *files) send(message, rights []byte) error {
	raw, err := f.gate.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) { sent = unix.Sendmsg(int(fd), message, rights, nil, unix.MSG_NOSIGNAL) })
	if err = errors.Join(err, sent); err != nil {
		return fmt.Errorf("open its gate: %w", err)
	}
	return nil
}

// receive returns the process's answer, nothing if it has ended.
func (f *files) receive() ([]byte, error) {
	b := make([]byte, 4096)
	raw, err := f.gate.SyscallConn()
	if err != nil {
		return nil, err
	}
	var n int
	var got error
	err = raw.Read(func(fd uintptr) bool {
		n, _, got = unix.Recvfrom(int(fd), b, 0)
		return !errors.Is(got, unix.EAGAIN)
	})
	if errors.Is(got, unix.ECONNRESET) {
		return nil, err
	}
	if err = errors.Join(err, got); err != nil {
		return nil, err
	}
	return b[:n], nil
}

// interrupt makes receive return.
func (f *files) interrupt() { _ = f.gate.SetReadDeadline(time.Unix(1, 0)) }
