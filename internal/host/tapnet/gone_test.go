package tapnet_test

import (
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/host/netns"
	"github.com/unifaas/unifaas/internal/host/tapnet"
)

// watch returns a function that tells whether a network is gone within a time.
// A namespace can have a number in another one, which it loses when it goes
// (ip-netns(8), "set"): that does not hold it, as a descriptor would.
func watch(t *testing.T, n *tapnet.Network) func(within time.Duration) bool {
	t.Helper()
	observer, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(observer.Close)
	var file *os.File
	if err := n.Do(func() (err error) { file, err = os.Open("/proc/thread-self/ns/net"); return err }); err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := observer.Do(func() error { return netlink.SetNetNsIdByFd(int(file.Fd()), 1) }); err != nil {
		t.Fatal(err)
	}
	if numbers(t, observer) != 1 {
		t.Fatal("the network can't be watched")
	}
	return func(within time.Duration) bool {
		t.Helper()
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for begin := time.Now(); time.Since(begin) < within; <-ticker.C {
			if numbers(t, observer) == 0 {
				return true
			}
		}
		return false
	}
}

// numbers counts the namespaces that have a number in the observer's.
func numbers(t *testing.T, observer *netns.Handle) int {
	t.Helper()
	count := 0
	err := observer.Do(func() error {
		request := nl.NewNetlinkRequest(unix.RTM_GETNSID, unix.NLM_F_DUMP)
		request.AddData(nl.NewRtGenMsg())
		answers, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNSID)
		count = len(answers)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return count
}

func TestGoneAfterClose(t *testing.T) {
	n := newNetwork(t)
	gone := watch(t, n)
	begin := time.Now()
	n.Close()
	n.Close()
	if !gone(5 * time.Second) {
		t.Error("the network is still there")
	}
	t.Logf("gone after %v", time.Since(begin))
}
