package netns_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/host/leak"
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

// newNamespace makes one, of which nothing is left after the test.
func newNamespace(t *testing.T) *netns.Handle {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	before, err := leak.Snapshot(leak.Self())
	if err != nil {
		t.Fatal(err)
	}
	h, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.Close()
		after, err := leak.Snapshot(leak.Self())
		if err != nil {
			t.Fatal(err)
		}
		if left := leak.Diff(before, after); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
	return h
}

// namespace is that of the thread.
func namespace(t *testing.T) string {
	t.Helper()
	name, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Error(err)
	}
	return name
}

// TestDoStaysAway has many goroutines go to namespaces and sees to it that no
// thread of anybody else is in one, the first of the process above all.
func TestDoStaysAway(t *testing.T) {
	h := newNamespace(t)
	home := namespace(t)
	var visitors sync.WaitGroup
	for range 20 {
		visitors.Go(func() {
			for range 50 {
				err := h.Do(func() error {
					if namespace(t) == home {
						t.Error("Do has stayed at home")
					}
					if unix.Gettid() == os.Getpid() {
						t.Error("the first thread is away")
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				if got := namespace(t); got != home {
					t.Errorf("after it we are in %s, not %s", got, home)
				}
			}
		})
	}
	visitors.Wait()
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if name, err := os.Readlink(task); err == nil && name != home {
			t.Errorf("%s is %s", task, name)
		}
	}
}

func TestErrorsOfWhatIsDone(t *testing.T) {
	h := newNamespace(t)
	want := errors.New("mine")
	if err := h.Do(func() error { return want }); !errors.Is(err, want) {
		t.Errorf("Do: got %v", err)
	}
	if got, err := netns.NewWith(func() error { return want }); !errors.Is(err, want) || got != nil {
		t.Errorf("NewWith: got %v, %v", got, err)
	}
	if err := h.Do(func() error { runtime.Goexit(); return nil }); err == nil {
		t.Error("a function that did not return: no error")
	}
	h.Close()
	if err := h.Do(func() error { return nil }); err == nil {
		t.Error("a closed handle: no error")
	}
}

func TestStart(t *testing.T) {
	h := newNamespace(t)
	cmd := exec.Command("/bin/readlink", "/proc/self/ns/net")
	var out strings.Builder
	cmd.Stdout = &out
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	var want string
	if err := h.Do(func() error { want = namespace(t); return nil }); err != nil || strings.TrimSpace(out.String()) != want {
		t.Errorf("it was in %q, want %q, %v", out.String(), want, err)
	}
}

func TestListen(t *testing.T) {
	own, err := netns.OfProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if os.Geteuid() != 0 {
		t.Skip("needs root to enter network namespaces")
	}
	l, err := own.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := own.DialTo(t.Context(), l.Addr().(*net.TCPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if accepted.RemoteAddr().String() != conn.LocalAddr().String() {
		t.Errorf("accepted from %v, want %v", accepted.RemoteAddr(), conn.LocalAddr())
	}
	if again, err := own.Listen(l.Addr().(*net.TCPAddr).AddrPort()); !errors.Is(err, unix.EADDRINUSE) {
		again.Close()
		t.Errorf("a port that is taken: got %v", err)
	}
	if _, err := own.Listen(netip.MustParseAddrPort("[::1]:0")); err == nil {
		t.Error("an address of version 6: no error")
	}
}
