package main

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A function listens on TCP: in a guest without a network, what comes by vsock
// is passed on to it over loopback.

// backlog is how many connections may wait to be taken.
const backlog = 128

// relay takes the host's connections from now on.
func (m *machine) relay() error {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail("open vsock", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: uint32(m.plan.Port)}); err != nil {
		return fail("bind vsock port", err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return fail("listen at vsock port", err)
	}
	go accept(fd, m.plan.Port)
	return nil
}

// accept takes connections and passes on each.
func accept(listener, port int) {
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		switch {
		case err == nil:
			go carry(fd, port)
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EBADF):
			return // it is none
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOBUFS):
			// Until some have ended.
			pause := unix.NsecToTimespec(redialLeast)
			_ = unix.Nanosleep(&pause, nil)
		}
	}
}

// carry connects one connection with the function, for as long as either end
// has something to say. It closes host.
func carry(host, port int) {
	function, err := connect(port)
	if err != nil {
		_ = unix.Close(host) // as nobody listens
		return
	}
	// Both wait in the runtime's poller, not in a thread each.
	a, b := os.NewFile(uintptr(host), "host"), os.NewFile(uintptr(function), "function")
	done := make(chan struct{})
	go func() {
		pass(b, a)
		close(done)
	}()
	pass(a, b)
	<-done
	_ = a.Close()
	_ = b.Close()
}

// connect connects to the function, on either loopback address.
func connect(port int) (fd int, err error) {
	if fd, err = dialLoopback(unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port}); err == nil {
		return fd, nil
	}
	return dialLoopback(unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte{15: 1}, Port: port})
}

func dialLoopback(family int, to unix.Sockaddr) (fd int, err error) {
	if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, err
	}
	if err = unix.Connect(fd, to); err == nil {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // it works without, too
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// pass passes on what from says until its end, which is passed on, too. When
// either breaks both are ended.
func pass(to, from *os.File) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if errors.Is(err, io.EOF) && shutdown(to, unix.SHUT_WR) == nil {
			return
		}
		if err == nil {
			_, err = to.Write(buffer[:n])
		}
		if err != nil {
			_ = errors.Join(shutdown(to, unix.SHUT_RDWR), shutdown(from, unix.SHUT_RDWR)) // ended before: as good
			return
		}
	}
}

func shutdown(f *os.File, how int) error {
	raw, err := f.SyscallConn() // Fd would have it wait in a thread
	if err != nil {
		return err
	}
	var shutErr error
	err = raw.Control(func(fd uintptr) { shutErr = unix.Shutdown(int(fd), how) })
	return errors.Join(err, shutErr)
}
