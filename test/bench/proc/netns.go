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
	var made *os.File
	err := elsewhere(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return err
		}
		made, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	return made, nil
}

// InNetNS calls f in the network namespace ns, or where it is when ns is nil.
// f keeps to the goroutine that it is called on. Sockets and processes that it
// makes stay in ns.
func InNetNS(ns *os.File, f func() error) error {
	if ns == nil {
		return f()
	}
	return elsewhere(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("setns", err)
		}
		return f()
	})
}

// elsewhere calls f, which moves the calling thread to another network
// namespace, and brings the thread back. To let it end with its goroutine
// instead would not do: the main thread can't end.
func elsewhere(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer func() { _ = home.Close() }()
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		// A thread in the wrong namespace would spoil whatever comes next.
		panic(fmt.Sprintf("proc: cannot return to our network namespace: %v", back))
	}
	return err
}
