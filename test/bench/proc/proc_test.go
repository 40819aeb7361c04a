package proc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func TestCloseEndsEverything(t *testing.T) {
	g := NewGroup(t.TempDir())
	var pids []int
	for i := range 3 {
		p, err := g.Start(fmt.Sprint("sleeper", i), exec.Command("sleep", "1000"), Options{Grace: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, p.Pid())
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	for _, pid := range pids {
		if !gone(pid) {
			t.Errorf("process %d is still there", pid)
		}
	}
	if _, err := g.Start("late", exec.Command("sleep", "1000"), Options{}); !errors.Is(err, errClosed) {
		t.Errorf("start after close: %v", err)
	}
	if err := g.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestStopTellsWhenItTookForce(t *testing.T) {
	g := NewGroup(t.TempDir())
	defer g.Close()
	p, err := g.Start("stubborn", exec.Command("sh", "-c", `trap "" TERM; echo deaf; while :; do sleep 0.05; done`),
		Options{Grace: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for p.Tail() != "deaf" {
		time.Sleep(time.Millisecond)
	}
	if err := p.Stop(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("stop says %v", err)
	}
	if !gone(p.Pid()) {
		t.Error("it is still there")
	}
}

func TestAwaitHTTP(t *testing.T) {
	g := NewGroup(t.TempDir())
	defer g.Close()
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	sleeper, err := g.Start("sleeper", exec.Command("sleep", "1000"), Options{Grace: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if err := AwaitHTTP(t.Context(), sleeper, srv.URL); err != nil || asked != 3 {
		t.Errorf("after %d requests: %v", asked, err)
	}
	quick, err := g.Start("quick", exec.Command("sh", "-c", "echo no luck; exit 7"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = AwaitHTTP(ctx, quick, "http://"+Local(port)+"/")
	if err == nil || !strings.Contains(err.Error(), "exit status 7") || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("a process that ended: %v", err)
	}
}

func TestNetNS(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may make a network namespace")
	}
	ns, err := NewNetNS()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	g := NewGroup(t.TempDir())
	defer g.Close()
	for _, c := range []struct {
		in   *os.File
		want bool
	}{{ns, true}, {nil, false}} {
		p, err := g.Start("look", exec.Command("readlink", "/proc/self/ns/net"), Options{NetNS: c.in})
		if err != nil {
			t.Fatal(err)
		}
		<-p.Done()
		lines := strings.Fields(p.Tail())
		home, err := os.Readlink("/proc/self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		if other := lines[len(lines)-1] != home; other != c.want {
			t.Errorf("started in another namespace: %v, want %v", other, c.want)
		}
	}
	err = InNetNS(ns, func() error {
		links, err := os.ReadFile("/proc/thread-self/net/dev")
		if err == nil && strings.Count(string(links), ":") != 1 {
			err = fmt.Errorf("devices are %s", links)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestCPU(t *testing.T) {
	d, err := parseStat("42 (a) b) c) S 1 42 42 0 -1 4194560 100 0 0 0 25 17 0 0 20 0 1 0 100 1 2\n")
	if err != nil || d != 420*time.Millisecond {
		t.Errorf("%v, %v", d, err)
	}
	for _, bad := range []string{"", "42 (a", "42 (a) S 1 2 3 4 5 6 7 8 9 10 11 x 13 14"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for after := before; after < before+tick; { // work until the clock shows it
		if after, err = CPU(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestChildren(t *testing.T) {
	g := NewGroup(t.TempDir())
	defer g.Close()
	p, err := g.Start("parent", exec.Command("sh", "-c", "sleep 1000 & echo $!; trap 'kill $!' TERM; wait"), Options{Grace: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for p.Tail() == "" {
		time.Sleep(time.Millisecond)
	}
	children, err := Children(p.Pid())
	if err != nil || len(children) != 1 || fmt.Sprint(children[0]) != p.Tail() {
		t.Errorf("children are %v, not %s: %v", children, p.Tail(), err)
	}
}
