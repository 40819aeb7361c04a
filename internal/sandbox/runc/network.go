package runc

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	hostnetns "github.com/unifaas/unifaas/internal/host/netns"
)

// connect opens the way in to a function that runs, and limits its CPU, which
// only now is its own. One that has ended needs neither.
func (i *instance) connect(cpus float64) error {
	err := i.enterNetwork()
	if err == nil {
		if err = i.group.LimitCPU(cpus); err != nil {
			err = fmt.Errorf("limit cpu: %w", err)
		}
	}
	// One that is ending has lost its namespaces before it counts as ended.
	if err != nil && (errors.Is(err, fs.ErrNotExist) || i.process.HasEnded()) {
		return nil
	}
	return err
}

func (i *instance) enterNetwork() error {
	ns, err := hostnetns.OfProcess(i.process.Pid)
	if err != nil {
		return fmt.Errorf("open the container's network namespace: %w", err)
	}
	i.netns = ns
	if i.runtime.isRunc() {
		return nil
	}
	return raiseLoopback(i.process.Pid)
}

// raiseLoopback switches the loopback device of a process's namespace on. runc
// does that by itself; the specification demands it of nobody.
func raiseLoopback(pid int) error {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("open the container's network namespace: %w", err)
	}
	defer func() { _ = ns.Close() }()
	socket, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink in the container's network namespace: %w", err)
	}
	defer socket.Close()
	lo, err := socket.LinkByName("lo")
	if err == nil {
		err = socket.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("switch the container's loopback device on: %w", err)
	}
	return nil
}
