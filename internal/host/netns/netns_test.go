package netns_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/host/netns"
)

// TestDial connects from inside a namespace whose loopback is down, which is
// how one tells it from ours, and from our own.
func TestDial(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to enter network namespaces")
	}
	before, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	inside, err := netns.OfProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := inside.Dial(ctx, 1); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("where loopback is down: got %v, want ENETUNREACH", err)
	}
	if after, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || after != before {
		t.Errorf("our namespace is %q, then %q, %v", before, after, err)
	}
}

func TestDialOwn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to enter network namespaces")
	}
	own, err := netns.OfProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(l)
	if err := errors.Join(unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(l, 1)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(l)
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(name.(*unix.SockaddrInet4).Port)
	conn, err := own.Dial(t.Context(), port)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if conn, err := own.Dial(done, port); err == nil {
		_ = conn.Close() // quick enough is fine
	} else if !errors.Is(err, context.Canceled) {
		t.Errorf("with a done context: got %v", err)
	}
}
