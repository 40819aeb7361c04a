package runc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/host/process"
)

const (
	// commandTimeout bounds each execution of a runtime that its caller does
	// not bound more tightly: a thousand times what one takes.
	commandTimeout = 30 * time.Second
	// orphanTimeout bounds the wait for what an execution that was killed
	// leaves behind.
	orphanTimeout = time.Second
)

// An ociRuntime is one runtime's executable and where it keeps its state.
type ociRuntime struct {
	name string // as the function says
	path string
	root string // its --root
	// version is the first line of --version, "" until it was asked.
	version string
	stamp   stamp
}

// A stamp tells whether an executable has been replaced.
type stamp struct {
	size     int64
	modified time.Time
}

// newRuntime describes a runtime. Its folder below dir has its name, so that a
// sweep knows whom to ask for what is in there.
func newRuntime(name, path, dir string) (*ociRuntime, error) {
	s, err := stampOf(path)
	if err != nil {
		return nil, err
	}
	return &ociRuntime{name: name, path: path, root: filepath.Join(dir, url.PathEscape(name)), stamp: s}, nil
}

func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	return stamp{info.Size(), info.ModTime()}, nil
}

// unchanged reports whether the executable is still the one that was tried.
func (r *ociRuntime) unchanged() bool {
	s, err := stampOf(r.path)
	return err == nil && s == r.stamp
}

// isRunc reports whether it is runc itself under whatever name, once its
// version is known.
func (r *ociRuntime) isRunc() bool { return strings.HasPrefix(r.version, "runc version ") }

// A launch is what a new container is made of.
type launch struct {
	id     string
	bundle string   // folder with config.json
	pid    string   // file that the runtime writes the process's number to
	log    string   // file of the runtime's own messages
	output *os.File // the container's standard output and error
}

// run makes a container and starts its program; create leaves it to wait.
func (r *ociRuntime) run(ctx context.Context, l launch) error {
	return r.launch(ctx, l, "run", "--detach")
}

func (r *ociRuntime) create(ctx context.Context, l launch) error {
	return r.launch(ctx, l, "create")
}

func (r *ociRuntime) launch(ctx context.Context, l launch, verb ...string) error {
	args := append(r.flags(l.log), verb...)
	args = append(args, "--bundle", l.bundle, "--pid-file", l.pid, l.id)
	if err := r.execute(ctx, l.output, l.output, args); err != nil {
		return r.failure(verb[0], l.log, err)
	}
	return nil
}

// delete makes the runtime forget container id, whatever state it is in.
func (r *ociRuntime) delete(ctx context.Context, id string) error {
	var said tail
	if err := r.execute(ctx, &said, &said, append(r.flags(""), "delete", "--force", id)); err != nil {
		if words := said.lastLine(); words != "" {
			err = fmt.Errorf("%w: %s", err, words)
		}
		return fmt.Errorf("%s delete %q: %w", r.name, id, err)
	}
	return nil
}

// askVersion fills in the version.
func (r *ociRuntime) askVersion(ctx context.Context) error {
	var said tail
	if err := r.execute(ctx, &said, io.Discard, []string{"--version"}); err != nil {
		return fmt.Errorf("%s --version: %w", r.name, err)
	}
	r.version = said.firstLine()
	return nil
}

func (r *ociRuntime) flags(log string) []string {
	flags := []string{"--root", r.root}
	if log != "" {
		flags = append(flags, "--log", log, "--log-format", "json")
	}
	return flags
}

// failure is the error of a failed command, in the runtime's own words where
// it left some.
func (r *ociRuntime) failure(verb, log string, err error) error {
	if words := lastError(log); words != "" && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s %s: %s", r.name, verb, words)
	}
	return fmt.Errorf("%s %s: %w", r.name, verb, err)
}

// execute runs the runtime to its end. When ctx ends first, the runtime and
// all that it started in its session are killed; what it moved elsewhere, into
// the instance's control group, is the caller's to end.
func (r *ociRuntime) execute(ctx context.Context, stdout, stderr io.Writer, args []string) error {
	if err := os.MkdirAll(r.root, 0o700); err != nil {
		return err
	}
	if err := process.Adopt(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.path, args...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.Env = []string{"PATH=" + systemDirs}
	cmd.Dir = "/"
	// A runtime must not go on after a platform that was killed: the next one
	// undoes what it finds, and must find all of it. The kernel watches the
	// thread that starts it, which therefore stays to the end.
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = orphanTimeout
	err := cmd.Run()
	if err != nil && cmd.Process != nil {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		process.ReapGroup(cmd.Process.Pid, orphanTimeout)
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("it was killed before its end: %w", ctx.Err())
	}
	return err
}

// knows reports whether the runtime keeps state of container id.
func (r *ociRuntime) knows(id string) bool {
	_, err := os.Lstat(filepath.Join(r.root, id))
	return !errors.Is(err, fs.ErrNotExist)
}

// A tail keeps the beginning of what a command says.
type tail struct{ text bytes.Buffer }

const maxSaid = 8 << 10

// Write keeps b as far as there is room, and always takes all of it.
func (t *tail) Write(b []byte) (int, error) {
	t.text.Write(b[:min(len(b), maxSaid-t.text.Len())])
	return len(b), nil
}

func (t *tail) firstLine() string {
	line, _, _ := strings.Cut(strings.TrimSpace(t.text.String()), "\n")
	return printable(line)
}

func (t *tail) lastLine() string {
	text := strings.TrimSpace(t.text.String())
	return printable(text[strings.LastIndexByte(text, '\n')+1:])
}
