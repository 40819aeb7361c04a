package process

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// orphan runs a shell that leaves a process behind and exits, and returns the
// process's number. The process ends with status 7 when release is called.
func orphan(t *testing.T, attr *syscall.SysProcAttr) (pid int, release func()) {
	t.Helper()
	hold, end, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = end.Close() })
	cmd := exec.Command("sh", "-c", `exec 4>&1 1>/dev/null; (exec 4>&-; read x <&3; exit 7) & echo $! >&4`)
	cmd.ExtraFiles = []*os.File{hold}
	cmd.SysProcAttr = attr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = hold.Close()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
		t.Fatal(err)
	}
	return pid, func() { _ = end.Close() }
}

func adopt(t *testing.T) {
	t.Helper()
	if err := Adopt(); err != nil {
		t.Fatal(err)
	}
}

func TestAdoptedExitStatus(t *testing.T) {
	adopt(t)
	pid, release := orphan(t, nil)
	h, err := Hold(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if s, err := Look(pid); err != nil || s.Parent != os.Getpid() || s.Identity != h.Identity {
		t.Fatalf("status: got %+v, %v; want this process as its parent", s, err)
	}
	if _, ended := Reap(pid); ended {
		t.Error("a process that runs was reaped")
	}
	if h.HasEnded() {
		t.Error("a process that runs has ended")
	}
	release()
	if status, known := h.Wait(); !known || status.ExitStatus() != 7 {
		t.Errorf("wait: got %v, known %v", status, known)
	}
	if !h.HasEnded() {
		t.Error("a process that was waited for has not ended")
	}
	if _, err := HoldAgain(h.Identity); !errors.Is(err, ErrGone) {
		t.Errorf("after its end: got %v", err)
	}
	if err := h.Signal(unix.SIGKILL); err != nil {
		t.Errorf("signal after its end: %v", err)
	}
}

func TestKilled(t *testing.T) {
	adopt(t)
	pid, _ := orphan(t, nil)
	h, err := Hold(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if status, known := h.Wait(); !known || status.Signal() != unix.SIGKILL {
		t.Errorf("wait: got %v, known %v", status, known)
	}
}

// TestTwoWaiters: the status is told once, the end to everybody.
func TestTwoWaiters(t *testing.T) {
	adopt(t)
	pid, release := orphan(t, nil)
	known := make(chan bool, 2)
	for range cap(known) {
		h, err := Hold(pid)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer h.Close()
			_, ok := h.Wait()
			known <- ok
		}()
	}
	release()
	if one, two := <-known, <-known; one == two {
		t.Errorf("status known: got %v and %v, want one of them", one, two)
	}
}

func TestReapGroup(t *testing.T) {
	adopt(t)
	pid, release := orphan(t, &syscall.SysProcAttr{Setsid: true})
	group, err := unix.Getpgid(pid)
	if err != nil {
		t.Fatal(err)
	}
	ReapGroup(group, 10*time.Millisecond)
	if s, err := Look(pid); err != nil || s.State == 'Z' {
		t.Fatalf("got %+v, %v; want it to run", s, err)
	}
	release()
	ReapGroup(group, time.Minute)
	if _, err := Look(pid); err == nil {
		t.Error("it was not reaped")
	}
}

// TestReapOrphans: of three children that have ended, two are somebody's.
func TestReapOrphans(t *testing.T) {
	adopt(t)
	ours := exec.Command("true")
	leader := exec.Command("true")
	leader.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	for _, cmd := range []*exec.Cmd{ours, leader} {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	pid, release := orphan(t, &syscall.SysProcAttr{Setsid: true})
	h, err := Hold(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := ReapOrphans(); err != nil {
		t.Fatal(err)
	}
	if h.HasEnded() {
		t.Fatal("an orphan that runs was taken for one that has ended")
	}
	release()
	for !h.HasEnded() {
		time.Sleep(time.Millisecond)
	}
	if err := ReapOrphans(); err != nil {
		t.Fatal(err)
	}
	if _, err := Look(pid); !os.IsNotExist(err) {
		t.Errorf("the orphan: got %v, want it gone", err)
	}
	for _, cmd := range []*exec.Cmd{ours, leader} {
		if err := cmd.Wait(); err != nil {
			t.Errorf("a child of this program: %v", err)
		}
	}
}

func TestHoldAgainOfAnother(t *testing.T) {
	self, err := Look(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	h, err := HoldAgain(self.Identity)
	if err != nil {
		t.Fatal(err)
	}
	h.Close()
	self.Started++
	if _, err := HoldAgain(self.Identity); !errors.Is(err, ErrGone) {
		t.Errorf("with another start: got %v", err)
	}
}

func FuzzStat(f *testing.F) {
	f.Add([]byte("12 (a) b) c) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1 2"))
	f.Add([]byte(")"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if s, err := parseStat(text); err == nil && !strings.Contains(string(text), strconv.FormatUint(s.Started, 10)) && !strings.Contains(string(text), "0") {
			t.Errorf("%q: got a start of %d that is not in it", text, s.Started)
		}
	})
}
