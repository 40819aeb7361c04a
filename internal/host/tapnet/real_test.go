package tapnet_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/host/tapnet"
)

// TestPool has many take real networks at once, use them and let them go.
func TestPool(t *testing.T) {
	needUsable(t)
	watchLeaks(t)
	before, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	p := tapnet.NewPool(tapnet.DefaultPlan(), 4)
	defer p.Close()
	var users sync.WaitGroup
	for range 12 {
		users.Go(func() {
			for range 3 {
				n, err := p.Take(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				l, err := n.Listen(3000) // the port is free in each
				if err != nil {
					t.Error(err)
				} else {
					l.Close()
				}
				tap, err := n.Open()
				if err != nil {
					t.Error(err)
				} else {
					tap.Close()
				}
				n.Close()
			}
		})
	}
	users.Wait()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for begin := time.Now(); p.Ready() < 4; <-ticker.C {
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("%d are ready, want 4", p.Ready())
		}
	}
	n, err := p.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	gone := watch(t, n)
	p.Close()
	if gone(100 * time.Millisecond) {
		t.Error("closing the pool has closed a network that was taken")
	}
	n.Close()
	if !gone(5 * time.Second) {
		t.Error("the network is still there")
	}
	if after, err := os.Readlink("/proc/self/ns/net"); err != nil || after != before {
		t.Errorf("our namespace was %s and is %s, %v", before, after, err)
	}
}

func TestErrors(t *testing.T) {
	needUsable(t)
	watchLeaks(t)
	plan := tapnet.DefaultPlan()
	plan.Tap = strings.Repeat("x", unix.IFNAMSIZ)
	_, err := tapnet.New(plan)
	var e *tapnet.Error
	if !errors.As(err, &e) || !strings.Contains(err.Error(), plan.Tap) {
		t.Errorf("a name that is too long: got %v", err)
	}
}

// TestNotRoot needs no privilege: it has none.
func TestNotRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("this is for ordinary users")
	}
	err := tapnet.Usable()
	var e *tapnet.Error
	if !errors.As(err, &e) || !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "needs root") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkNew(b *testing.B) {
	needUsable(b)
	for b.Loop() {
		n, err := tapnet.New(tapnet.DefaultPlan())
		if err != nil {
			b.Fatal(err)
		}
		n.Close()
	}
}

// BenchmarkTake takes what is ready.
func BenchmarkTake(b *testing.B) {
	needUsable(b)
	const n = 200
	p := tapnet.NewPool(tapnet.DefaultPlan(), n)
	defer p.Close()
	for b.Loop() {
		b.StopTimer()
		for begin := time.Now(); p.Ready() == 0; time.Sleep(time.Millisecond) {
			if time.Since(begin) > 10*time.Second {
				b.Fatal("none is ready")
			}
		}
		b.StartTimer()
		got, err := p.Take(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		got.Close()
	}
}

func BenchmarkListen(b *testing.B) {
	needUsable(b)
	n, err := tapnet.New(tapnet.DefaultPlan())
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	for b.Loop() {
		l, err := n.Listen(3000)
		if err != nil {
			b.Fatal(err)
		}
		l.Close()
	}
}
