package sandboxtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/boot"
	"github.com/unifaas/unifaas/internal/sandbox"
	"golang.org/x/sys/unix"
)

// A processDriver runs a function as a bare process: no sandbox at all, but
// real processes, exits and recoveries. It can be given a flaw, which the
// suite is to find.
type processDriver struct {
	jail bool // run in the root file system, which needs root
	flaw flaw
	held []*os.File // what the flaw leakDescriptor leaks
}

// A flaw is one thing that a processDriver does wrong.
type flaw string

const (
	leakProcess     flaw = "Stop leaves the process"
	leakDescriptor  flaw = "Start leaks a descriptor"
	leakGoroutine   flaw = "Start leaks a goroutine"
	recordNothing   flaw = "Start records nothing"
	recordLate      flaw = "Start records after it acquired"
	recordUnheard   flaw = "Start does not mind that Record fails"
	ignoreExit      flaw = "Wait does not know the exit status"
	ignoreContext   flaw = "Ready does not mind its context"
	quantise        flaw = "Ready tells of an end only when its context ends"
	bufferOutput    flaw = "the output is kept in memory"
	closeOutput     flaw = "Stop closes the caller's output"
	stopOnce        flaw = "a second Stop fails"
	recoverNothing  flaw = "Recover says that all are gone"
	recoverAnything flaw = "Recover takes over what has ended"
	ignoreBoot      flaw = "Recover believes a record of another boot"
	killForker      flaw = "a function that makes processes is killed"
)

type processState struct {
	Port int `json:"port"`
}

func (d *processDriver) Name() string { return "process" }

func (d *processDriver) Probe(context.Context) sandbox.Capabilities {
	return sandbox.Capabilities{Works: true}
}

func (d *processDriver) Prepare(_ context.Context, rev *faas.Revision) (sandbox.Artifact, error) {
	return rev.Image.Rootfs, nil
}

func (d *processDriver) Start(ctx context.Context, artifact sandbox.Artifact, spec sandbox.Spec) (sandbox.Instance, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	record := func() error {
		if d.flaw == recordNothing {
			return nil
		}
		if err := spec.Record(processState{port}); err != nil && d.flaw != recordUnheard {
			return fmt.Errorf("record: %w", err)
		}
		return nil
	}
	if d.flaw != recordLate {
		if err := record(); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	inst := &processInstance{id: spec.ID, port: port, done: make(chan struct{}), driver: d, output: spec.Output}
	cmd := d.command(artifact.(string), spec, port)
	if d.flaw == bufferOutput {
		hoard := &hoarder{out: spec.Output, more: make(chan struct{}, 1)}
		go hoard.drain()
		cmd.Stdout, cmd.Stderr = hoard, hoard
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	inst.pid = cmd.Process.Pid
	go func() {
		_ = cmd.Wait()
		inst.ended(cmd.ProcessState.Sys().(syscall.WaitStatus))
	}()
	if d.flaw == killForker {
		go inst.killAtChildren()
	}
	if d.flaw == recordLate {
		if err := record(); err != nil {
			_ = inst.Stop(context.Background())
			return nil, err
		}
	}
	return inst, d.leak(&spec)
}

func (d *processDriver) leak(spec *sandbox.Spec) error {
	spec.Phase("process")
	switch d.flaw {
	case leakDescriptor:
		f, err := os.Open(os.DevNull)
		d.held = append(d.held, f)
		return err
	case leakGoroutine:
		go func() { select {} }()
	}
	return nil
}

// killAtChildren ends a process that has more than a few children.
func (i *processInstance) killAtChildren() {
	for {
		select {
		case <-i.done:
			return
		case <-time.After(time.Millisecond):
		}
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", i.pid))
		children := 0
		for _, list := range lists {
			text, _ := os.ReadFile(list)
			children += len(bytes.Fields(text))
		}
		if children > 4 {
			_ = syscall.Kill(-i.pid, syscall.SIGKILL)
		}
	}
}

// command carries the instance's ID where a recovery finds it: in the process
// table.
func (d *processDriver) command(rootfs string, spec sandbox.Spec, port int) *exec.Cmd {
	cmd := exec.Command(filepath.Join(rootfs, "guest"), spec.ID)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if d.jail {
		cmd = exec.Command("/bin/sh", "-c", `mount -t proc proc "$0/proc" && mount --bind /dev "$0/dev" && exec chroot "$0" /guest "$1"`, rootfs, spec.ID)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Unshareflags: syscall.CLONE_NEWNS}
	}
	cmd.Env = append(spec.Revision.Environ(), "PORT="+strconv.Itoa(port))
	cmd.Stdout, cmd.Stderr = spec.Output, spec.Output
	return cmd
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (d *processDriver) Recover(_ context.Context, rec sandbox.Record) (sandbox.Instance, error) {
	if d.flaw == recoverNothing || len(rec.State) == 0 {
		return nil, sandbox.ErrGone
	}
	if d.flaw != ignoreBoot && !boot.IsCurrent(rec.BootID) {
		return nil, sandbox.ErrGone
	}
	var state processState
	if err := json.Unmarshal(rec.State, &state); err != nil {
		return nil, err
	}
	inst := &processInstance{id: rec.ID, port: state.Port, done: make(chan struct{}), driver: d}
	var err error
	if inst.pid, err = findProcess(rec.ID); err != nil {
		return nil, err
	}
	if inst.pid == 0 && d.flaw != recoverAnything {
		return nil, sandbox.ErrGone
	}
	go inst.watch()
	return inst, nil
}

// findProcess returns the process whose last argument is id, or 0.
func findProcess(id string) (int, error) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, path := range lines {
		cmdline, err := os.ReadFile(path)
		if err == nil && bytes.HasSuffix(cmdline, []byte("guest\x00"+id+"\x00")) {
			return strconv.Atoi(filepath.Base(filepath.Dir(path)))
		}
	}
	return 0, nil
}

type processInstance struct {
	id        string
	port, pid int
	driver    *processDriver
	output    *os.File
	done      chan struct{}

	mu      sync.Mutex
	exit    sandbox.Exit
	stopped bool
}

func (i *processInstance) ended(status syscall.WaitStatus) {
	i.exit = sandbox.Exit{Code: status.ExitStatus(), At: time.Now()}
	if status.Signaled() {
		i.exit.Signal = int(status.Signal())
	}
	if i.driver.flaw == ignoreExit {
		i.exit.Code, i.exit.Signal = 0, 0
	}
	close(i.done)
}

// watch waits for the end of a process that is another's child.
func (i *processInstance) watch() {
	for fd, err := unix.PidfdOpen(i.pid, 0); err == nil; {
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			_ = unix.Close(fd)
			break
		}
		err = nil
	}
	i.exit = sandbox.Exit{Code: -1, Reason: "ended, nobody knows how", At: time.Now()}
	close(i.done)
}

func (i *processInstance) ID() string { return i.id }

func (i *processInstance) Ready(ctx context.Context) error {
	if i.driver.flaw == ignoreContext {
		ctx = context.WithoutCancel(ctx)
	}
	done := i.done
	if i.driver.flaw == quantise {
		done = nil
	}
	for {
		if conn, err := i.dial(ctx); err == nil {
			return conn.Close()
		}
		select {
		case <-done:
			return fmt.Errorf("instance %q has ended: %v", i.id, i.exit)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (i *processInstance) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", i.port))
}

func (i *processInstance) Dial(ctx context.Context) (net.Conn, error) { return i.dial(ctx) }

func (i *processInstance) Done() <-chan struct{} { return i.done }

func (i *processInstance) Wait() sandbox.Exit {
	<-i.done
	return i.exit
}

func (i *processInstance) Stop(ctx context.Context) error {
	i.mu.Lock()
	again := i.stopped
	i.stopped = true
	i.mu.Unlock()
	switch {
	case again && i.driver.flaw == stopOnce:
		return errors.New("stopped before")
	case i.driver.flaw == leakProcess:
		return nil
	case i.driver.flaw == closeOutput && i.output != nil:
		_ = i.output.Close()
	}
	select {
	case <-i.done:
		return nil
	default:
	}
	if err := syscall.Kill(i.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	select {
	case <-i.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A hoarder takes any amount of output at once and passes it on when it can.
type hoarder struct {
	out  *os.File
	more chan struct{}
	mu   sync.Mutex
	kept bytes.Buffer
}

func (h *hoarder) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case h.more <- struct{}{}:
	default:
	}
	return h.kept.Write(b[:min(len(b), 64<<20)])
}

func (h *hoarder) drain() {
	piece := make([]byte, 4096)
	for range h.more {
		h.mu.Lock()
		n, _ := h.kept.Read(piece)
		h.mu.Unlock()
		if _, err := h.out.Write(piece[:n]); err != nil {
			return
		}
	}
}
