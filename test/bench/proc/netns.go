package proc

import (
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NewNetNS makes a network namespace with nothing in it but a loopback device
// that is up. It goes when the file is closed and nothing is in it any more.
func NewNetNS() (*os.File, error) {
	type result struct {
		file *os.File
		err  error
	}
	made := make(chan result)
	go func() {
		// Never unlocked: the thread, which is in the new namespace now,
		// ends with the goroutine.
		runtime.LockOSThread()
		file, err := unshareNet()
		made <- result{file, err}
	}()
	r := <-made
	if r.err != nil {
		return nil, fmt.Errorf("make network namespace: %w", r.err)
	}
	return r.file, nil
}

func unshareNet() (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, os.NewSyscallError("unshare", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return nil, err
	}
	return os.Open("/proc/thread-self/ns/net")
}

// InNetNS calls f on a thread that is in the network namespace ns. Sockets
// that f makes stay in ns.
func InNetNS(ns *os.File, f func() error) error {
	if ns == nil {
		return f()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, as above
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- os.NewSyscallError("setns", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// inNetNS calls f on the calling thread, which is locked and comes back.
func inNetNS(ns *os.File, f func() error) error {
	if ns == nil {
		return f()
	}
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer func() { _ = home.Close() }()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("setns", err)
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		// A thread in the wrong namespace would spoil every later start.
		panic(fmt.Sprintf("proc: cannot return to our network namespace: %v", back))
	}
	return err
}
