package container

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/host/cgroup"
	"github.com/unifaas/unifaas/internal/sandbox/container/script"
)

// answerTimeout bounds the launcher's answer: a thousand times what it takes.
const answerTimeout = 10 * time.Second

// launcherEnv keeps the launcher small: one thread for Go code, and no
// collector, since it allocates nothing.
var launcherEnv = []string{"GOMAXPROCS=1", "GOGC=off"}

// A launcher is the process that forks the first processes of instances. It is
// started when it is first needed, and again when it has ended. Its methods
// may be called concurrently.
type launcher struct {
	mu      sync.Mutex
	running *server
	closed  bool
}

// A server is a launcher's process.
type server struct {
	socket *os.File
	pid    int
	ended  chan struct{} // closed once the process is gone
}

var errClosed = errors.New("the driver is closed")

// forked is what [launcher.fork] is given.
type forked struct {
	flags    uint64
	artifact *artifact
	entrance *cgroup.Entrance // nil without a group
	files    []*os.File       // for descriptors 1, 2, ...
}

// fork has a process made, which is this process's child, and returns its
// number. program is the launcher's.
func (l *launcher) fork(program *os.File, f forked) (pid int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := l.server(program)
	if err != nil {
		return 0, err
	}
	reply, err := s.ask(f)
	if err != nil {
		// It is of no more use: the next answer might be to this request.
		l.running = nil
		return 0, errors.Join(err, s.end())
	}
	if reply.Errno != 0 {
		return 0, os.NewSyscallError("clone", syscall.Errno(reply.Errno))
	}
	return int(reply.Pid), nil
}

// limit returns one of the launcher's resource limits, which processes
// inherit.
func (l *launcher) limit(program *os.File, resource uint32) (unix.Rlimit, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var now unix.Rlimit
	s, err := l.server(program)
	if err == nil {
		err = os.NewSyscallError("prlimit", unix.Prlimit(s.pid, int(resource), nil, &now))
	}
	return now, err
}

func (l *launcher) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.running == nil {
		return nil
	}
	s := l.running
	l.running = nil
	return s.end()
}

// server returns the process, started if there is none. The caller holds mu.
func (l *launcher) server(program *os.File) (*server, error) {
	if l.closed {
		return nil, errClosed
	}
	if l.running != nil {
		select {
		case <-l.running.ended:
			_ = l.running.socket.Close()
		default:
			return l.running, nil
		}
	}
	var err error
	l.running, err = startServer(program)
	return l.running, err
}

func startServer(program *os.File) (*server, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "launcher")
	defer func() { _ = theirs.Close() }()
	s := &server{socket: os.NewFile(uintptr(pair[0]), "launcher"), ended: make(chan struct{})}
	limit := unix.NsecToTimeval(int64(answerTimeout))
	if err := unix.SetsockoptTimeval(pair[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return nil, errors.Join(os.NewSyscallError("setsockopt", err), s.socket.Close())
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(err, s.socket.Close())
	}
	defer func() { _ = null.Close() }()
	// The second word is room for the name of an instance (see script.Title).
	argv := []string{script.Name, strings.Repeat(" ", script.MaxID)}
	// What it executes must be among its files: whatever else a fork puts into
	// a child's descriptors can't take its place there.
	const programFD = script.RequestFD + 1
	process, err := os.StartProcess(fmt.Sprintf("/proc/self/fd/%d", programFD), argv, &os.ProcAttr{
		Dir: "/", Env: launcherEnv, Files: []*os.File{null, null, os.Stderr, theirs, program},
		Sys: &syscall.SysProcAttr{Setpgid: true}, // a terminal's interrupt is for the platform
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start launcher: %w", err), s.socket.Close())
	}
	s.pid = process.Pid
	go func() {
		_, _ = process.Wait()
		close(s.ended)
	}()
	// Refused to a root without CAP_SYS_RESOURCE, whose functions then get as
	// many files as itself.
	_ = unix.Prlimit(s.pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: mostFiles, Max: mostFiles}, nil)
	return s, nil
}

// mostFiles is the most open files that a function can get.
const mostFiles = 1 << 20

// end ends the process and waits for that.
func (s *server) end() error {
	err := s.socket.Close()
	select {
	case <-s.ended:
		return err
	case <-time.After(answerTimeout):
		_ = unix.Kill(s.pid, unix.SIGKILL) // it is our child, and not reaped: the number is its own
		return errors.Join(err, errors.New("the launcher did not end"))
	}
}

// ask sends a request and waits for its answer.
func (s *server) ask(f forked) (script.Reply, error) {
	var reply script.Reply
	request, fds := f.request()
	message := unsafe.Slice((*byte)(unsafe.Pointer(&request)), script.RequestSize)
	socket := int(s.socket.Fd())
	err := uninterrupted(func() error {
		return unix.Sendmsg(socket, message, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
	})
	if err != nil {
		return reply, os.NewSyscallError("sendmsg", err)
	}
	answer := unsafe.Slice((*byte)(unsafe.Pointer(&reply)), script.ReplySize)
	var n int
	err = uninterrupted(func() (err error) {
		n, _, err = unix.Recvfrom(socket, answer, 0)
		return err
	})
	if err != nil {
		return reply, os.NewSyscallError("recvfrom", err)
	}
	if n != script.ReplySize {
		return reply, errors.New("the launcher has ended")
	}
	return reply, nil
}

// uninterrupted makes a system call again that a signal ended: the runtime's
// own are frequent.
func uninterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// request puts a request and its files in order.
func (f forked) request() (script.Request, []int) {
	r := script.Request{Flags: f.flags, Size: f.artifact.size, Start: f.artifact.start}
	fds := []int{int(f.artifact.script.Fd())}
	if f.entrance != nil {
		if f.entrance.Unified != nil {
			r.Unified = 1
			fds = append(fds, int(f.entrance.Unified.Fd()))
		}
		r.Tasks = uint32(len(f.entrance.Tasks))
		for _, t := range f.entrance.Tasks {
			fds = append(fds, int(t.Fd()))
		}
	}
	for _, file := range f.files {
		fds = append(fds, int(file.Fd()))
	}
	return r, fds
}
