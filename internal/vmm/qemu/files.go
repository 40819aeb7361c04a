package qemu

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The files of a machine in its folder.
const (
	socketName = "qmp.sock"
	wordsName  = "monitor.err"
)

// listen makes the socket at path on which QEMU is steered, listening: who
// connects before QEMU has begun is served when it has. Only the platform's
// user may connect. QEMU inherits the file.
func listen(path string) (*os.File, error) {
	folder, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	defer func() { _ = unix.Close(folder) }()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), path)
	// An address has room for 107 bytes; this one is always short.
	address := &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", folder, filepath.Base(path))}
	if err := unix.Bind(fd, address); err != nil {
		file.Close()
		return nil, &os.PathError{Op: "bind", Path: path, Err: err}
	}
	if err := unix.Listen(fd, 1); err != nil {
		file.Close()
		os.Remove(path)
		return nil, &os.PathError{Op: "listen", Path: path, Err: err}
	}
	if err := unix.Fchmodat(folder, filepath.Base(path), 0o600, 0); err != nil {
		file.Close()
		os.Remove(path)
		return nil, &os.PathError{Op: "chmod", Path: path, Err: err}
	}
	return file, nil
}

// words is where QEMU writes what it has to say of itself: a FIFO that it holds
// open for reading too, so that writing never fails for want of a reader, and
// that is never waited for: beyond the 64 KiB that the kernel keeps, words are
// lost. So a guest that makes QEMU complain without end fills nothing up, and
// a platform that is started again finds the words there.
type words struct{ file *os.File }

// makeWords makes the FIFO at path.
func makeWords(path string) (*words, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	w, err := openWords(path)
	if err != nil {
		os.Remove(path)
	}
	return w, err
}

func openWords(path string) (*words, error) {
	// Not by os.OpenFile: what that has made non-blocking it makes blocking
	// again for a child.
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &words{os.NewFile(uintptr(fd), path)}, nil
}

// read takes out what QEMU has said.
func (w *words) read() string {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return ""
	}
	buffer := make([]byte, 64<<10)
	total := 0
	_ = raw.Control(func(fd uintptr) {
		for total < len(buffer) {
			n, err := unix.Read(int(fd), buffer[total:])
			if n <= 0 || err != nil {
				return
			}
			total += n
		}
	})
	return string(buffer[:total])
}

func (w *words) close() { w.file.Close() }
