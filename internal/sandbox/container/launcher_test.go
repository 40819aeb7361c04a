package container

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/host/process"
	"github.com/unifaas/unifaas/internal/sandbox/container/script"
)

// A bench has a launcher carry out scripts, in no namespaces.
type bench struct {
	*testing.T
	launcher launcher
	program  *os.File
}

func newBench(t *testing.T) *bench {
	t.Helper()
	program, err := openLauncher(LauncherProgram, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, program: program}
	t.Cleanup(func() {
		if err := errors.Join(b.launcher.close(), program.Close()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// run carries out a script and returns its process and our end of its gate.
func (b *bench) run(write func(w *script.Writer)) (*process.Handle, *files) {
	b.Helper()
	w := &script.Writer{}
	write(w)
	p, err := w.Program()
	if err != nil {
		b.Fatal(err)
	}
	art := &artifact{size: uint64(len(p.Memory)), start: p.Start, steps: p.Steps}
	if art.script, err = sealed("script", p.Memory); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = art.script.Close() }()
	s := &starter{art: art, files: files{child: []*os.File{os.Stderr, os.Stderr}}}
	if err := s.openGateFiles(); err != nil {
		b.Fatal(err)
	}
	pid, err := b.launcher.fork(b.program, forked{artifact: art, files: s.files.child})
	s.files.closeTheirs()
	if err != nil {
		b.Fatal(err)
	}
	h, err := process.Hold(pid)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = h.Signal(unix.SIGKILL)
		h.Wait()
		h.Close()
		s.files.close()
	})
	return h, &s.files
}

// result carries out a script that ends with [script.Fail], and returns the
// number that it failed with and the step.
func (b *bench) result(write func(w *script.Writer)) (errno uint32, step string) {
	b.Helper()
	w := &script.Writer{}
	write(w)
	p, err := w.Program()
	if err != nil {
		b.Fatal(err)
	}
	_, f := b.run(write)
	message, err := f.receive()
	if err != nil || len(message) != script.FailedSize || message[0] != script.Failed {
		b.Fatalf("got %v, %v; want a failure", message, err)
	}
	return binary.NativeEndian.Uint32(message[5:]), p.Steps[binary.NativeEndian.Uint32(message[1:])]
}

func number(n int) script.Arg { return script.Number(n) }

// TestOperations looks at what each operation does by the number that a script
// fails with.
func TestOperations(t *testing.T) {
	b := newBench(t)
	for name, c := range map[string]struct {
		write func(w *script.Writer)
		want  uint32
	}{
		"a result is in its register": {func(w *script.Writer) {
			w.CallTo(3, unix.SYS_UMASK, number(0o123))
			w.CallTo(3, unix.SYS_UMASK, number(0))
			w.Fail(script.Reg(3))
		}, 0o123},
		"registers begin with zero": {func(w *script.Writer) { w.Fail(script.Reg(7)) }, 0},
		"a failure that nobody catches ends the script": {func(w *script.Writer) {
			w.Call(unix.SYS_CLOSE, number(999))
			w.Fail(number(1))
		}, uint32(unix.EBADF)},
		"a caught failure goes on at its label": {func(w *script.Writer) {
			l := w.Label()
			w.CallTo(2, unix.SYS_CLOSE, number(999))
			w.Catch(uint32(unix.EBADF), l)
			w.Fail(number(1))
			w.Put(l)
			w.Fail(script.Reg(2))
		}, uint32(unix.EBADF)},
		"another failure is not caught": {func(w *script.Writer) {
			w.Call(unix.SYS_CLOSE, number(999))
			w.Catch(uint32(unix.ENOENT), w.Here())
			w.Fail(number(1))
		}, uint32(unix.EBADF)},
		"an ignored failure goes on": {func(w *script.Writer) {
			w.Call(unix.SYS_CLOSE, number(999))
			w.Ignore()
			w.Fail(number(77))
		}, 77},
		"equals jump": {func(w *script.Writer) {
			l := w.Label()
			w.JumpIf(script.Reg(1), number(0), l)
			w.Fail(number(1))
			w.Put(l)
			w.Fail(number(2))
		}, 2},
		"others don't": {func(w *script.Writer) {
			l := w.Label()
			w.JumpIf(script.Reg(1), number(5), l)
			w.Fail(number(1))
			w.Put(l)
			w.Fail(number(2))
		}, 1},
		"what is stored can be loaded": {func(w *script.Writer) {
			at := w.Words(1, 2, 3)
			w.Store(at+8, number(41))
			w.Fail((at + 8).Load())
		}, 41},
		"data beside it stays": {func(w *script.Writer) {
			at := w.Words(1, 2, 3)
			w.Store(at+8, number(41))
			w.Fail((at + 16).Load())
		}, 3},
		"signals are blocked": {func(w *script.Writer) {
			w.CallTo(1, unix.SYS_GETPID)
			w.Call(unix.SYS_KILL, script.Reg(1), number(int(unix.SIGTERM)))
			w.Call(unix.SYS_KILL, script.Reg(1), number(int(unix.SIGURG)))
			w.Fail(number(12))
		}, 12},
		"there is a new process": {func(w *script.Writer) {
			child := w.Label()
			w.CallTo(1, unix.SYS_CLONE, number(int(unix.SIGCHLD)))
			w.JumpIf(script.Reg(1), number(0), child)
			status := w.Words(0)
			w.Call(unix.SYS_WAIT4, script.Reg(1), status.Arg())
			w.Fail(status.Load())
			w.Put(child)
			w.Call(unix.SYS_EXIT_GROUP, number(9))
		}, 9 << 8},
	} {
		if got, _ := b.result(c.write); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

func TestAFailureNamesItsStep(t *testing.T) {
	_, step := newBench(t).result(func(w *script.Writer) {
		w.Step("one")
		w.Call(unix.SYS_GETPID)
		w.Step("two")
		w.Call(unix.SYS_CLOSE, number(999))
		w.Step("three")
		w.Call(unix.SYS_GETPID)
	})
	if step != "two" {
		t.Errorf("got %q", step)
	}
}

// waiting is a script that waits for a packet, puts it into its title, and
// waits for another.
func waiting(w *script.Writer) {
	part := w.Words(0, script.MaxID)
	w.Store(part, script.TitleAt(0))
	head := w.Words(0, 0, uint64(part), 1, 0, 0, 0)
	w.Call(unix.SYS_RECVMSG, number(script.GateFD), head.Arg())
	w.Call(unix.SYS_SENDTO, number(script.GateFD), w.Bytes([]byte{script.Done}).Arg(), number(1))
	w.Call(unix.SYS_RECVMSG, number(script.GateFD), head.Arg())
}

func TestTitle(t *testing.T) {
	h, f := newBench(t).run(waiting)
	if got := instanceOf(h.Pid); got != "" {
		t.Errorf("before it has a name: got %q", got)
	}
	if err := f.send([]byte("node-1234"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := f.receive(); err != nil {
		t.Fatal(err)
	}
	if got := instanceOf(h.Pid); got != "node-1234" {
		t.Errorf("got %q", got)
	}
}

// TestChildrenAreOurs: the launcher has no part in a process that it has made,
// and its end is none of it.
func TestChildrenAreOurs(t *testing.T) {
	b := newBench(t)
	h, f := b.run(waiting)
	s, err := process.Look(h.Pid)
	if err != nil || s.Parent != os.Getpid() {
		t.Fatalf("its parent: got %d, %v; want %d", s.Parent, err, os.Getpid())
	}
	first := b.launcher.running
	if err := unix.Kill(first.pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-first.ended
	if err := f.send([]byte("x"), nil); err != nil {
		t.Fatal(err)
	}
	if message, err := f.receive(); err != nil || len(message) != 1 {
		t.Errorf("after the launcher's end: got %v, %v", message, err)
	}
	// Another takes its place.
	if got, _ := b.result(func(w *script.Writer) { w.Fail(number(3)) }); got != 3 {
		t.Errorf("by the next launcher: got %d", got)
	}
	if b.launcher.running == first {
		t.Error("it is the same launcher")
	}
}

// TestLauncherEndsWithItsSocket: nobody has to end it.
func TestLauncherEndsWithItsSocket(t *testing.T) {
	b := newBench(t)
	h, _ := b.run(waiting)
	s := b.launcher.running
	if err := s.socket.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.ended:
	case <-time.After(answerTimeout):
		t.Fatal("the launcher is still there")
	}
	b.launcher.running = nil
	if h.HasEnded() {
		t.Error("so is its child, which waits at its gate")
	}
}

func TestForkRefused(t *testing.T) {
	b := newBench(t)
	art := &artifact{}
	var err error
	if art.script, err = sealed("script", []byte("no script")); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = art.script.Close() }()
	_, err = b.launcher.fork(b.program, forked{flags: unix.CLONE_SIGHAND, artifact: art}) // not without CLONE_VM
	if !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "clone") {
		t.Errorf("got %v", err)
	}
	if err := b.launcher.close(); err != nil {
		t.Error(err)
	}
	if _, err := b.launcher.fork(b.program, forked{artifact: art}); !errors.Is(err, errClosed) {
		t.Errorf("of a closed launcher: got %v", err)
	}
}
