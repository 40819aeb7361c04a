package gvisor

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
)

// TestStaleNotification tells a connection that its platform has hung up when
// it hasn't: what happens when its descriptor's number was another's before.
func TestStaleNotification(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	host := newHostEnd(pair[0])
	defer host.close()
	stop, hung := make(chan struct{}), make(chan struct{})
	defer close(stop)
	go host.hangup(stop, func() { close(hung) })
	for deadline := time.Now().Add(20 * time.Second); host.queue.Events() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("nobody waits for a hang-up")
		}
		time.Sleep(time.Millisecond)
	}
	host.queue.Notify(waiter.EventHUp)
	select {
	case <-hung:
		t.Fatal("a stale notification was taken for a hang-up")
	case <-time.After(50 * time.Millisecond):
	}
	if err := unix.Close(pair[1]); err != nil {
		t.Fatal(err)
	}
	select {
	case <-hung:
	case <-time.After(20 * time.Second):
		t.Fatal("a hang-up was not noticed")
	}
}
