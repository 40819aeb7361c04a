// Package platform runs a platform for the laboratory: a process of its own,
// with folders of its own, that is asked and measured from outside, as a user
// would. It knows nothing of experiments.
package platform

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/control"
)

const (
	// serveTimeout bounds the wait for functions to be served.
	serveTimeout = 2 * time.Minute
	// stopTimeout bounds the platform's own end.
	stopTimeout = time.Minute
	poll        = 2 * time.Millisecond
)

// A Platform runs. Its methods may be called concurrently, but for those that
// change one and the same function.
type Platform struct {
	Control *control.Client
	Gateway string // host:port
	admin   string // host:port
	dir     string
	cmd     *exec.Cmd
	log     string
	ended   chan struct{}
}

// Options say how a platform is run.
type Options struct {
	// Exe is the program, this very one.
	Exe string
	// Dir is a folder for all that it keeps.
	Dir string
	// Env is added to the environment: settings of sandboxes.
	Env []string
}

// Start starts a platform that serves nothing yet. It has the defaults in
// everything: the machine's own configuration does not count.
func Start(ctx context.Context, o Options) (*Platform, error) {
	p := &Platform{dir: o.Dir, log: filepath.Join(o.Dir, "platform.log"), ended: make(chan struct{})}
	run := filepath.Join(o.Dir, "run")
	p.Control = control.NewClient(run)
	// An earlier run of the laboratory may have been killed, and its platform is
	// on its way out.
	err := p.await(ctx, "have the folders for itself", func(ctx context.Context) (bool, error) {
		_, err := p.Control.Status(ctx)
		return err != nil, nil
	})
	if err = errors.Join(err, os.RemoveAll(p.functions())); err != nil {
		return nil, err
	}
	for _, dir := range []string{p.functions(), run} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	config, err := emptyConfig(o.Dir)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	p.cmd = exec.Command(o.Exe, "--config", config, "--state-dir", filepath.Join(o.Dir, "state"), "--run-dir", run,
		"up", "--functions", p.functions(), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	p.cmd.Env = append(environment(), o.Env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true, // an interrupt of the laboratory is not the platform's
		Pdeathsig: syscall.SIGTERM,
	}
	started := make(chan error)
	go p.watch(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start platform: %w", err)
	}
	err = p.await(ctx, "serve", func(ctx context.Context) (bool, error) {
		status, err := p.Control.Status(ctx)
		p.Gateway, p.admin = status.Gateway, status.Admin
		return status.Ready, err
	})
	if err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// watch starts the process and follows it to its end, on one thread: the
// kernel takes that thread's end for the laboratory's.
func (p *Platform) watch(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err == nil {
		_ = p.cmd.Wait() // its log says why
	}
	close(p.ended)
}

func emptyConfig(dir string) (string, error) {
	path := filepath.Join(dir, "unifaas.toml")
	return path, os.WriteFile(path, nil, 0o600)
}

// environment is ours without what would configure a platform.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "UNIFAAS_") })
}

func (p *Platform) functions() string { return filepath.Join(p.dir, "functions") }

// Pid returns the platform's process.
func (p *Platform) Pid() int { return p.cmd.Process.Pid }

// Stop ends the platform and what it runs.
func (p *Platform) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopTimeout):
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	return fmt.Errorf("the platform did not stop within %v and was killed; its instances are left, and a next platform with its folders cleans up:\n%s", stopTimeout, p.tail())
}

// Serve writes function.tomls, by their functions' names, and waits until
// those versions are served.
func (p *Platform) Serve(ctx context.Context, tomls map[string]string) error {
	begin := time.Now()
	for name, toml := range tomls {
		if err := p.write(name, toml); err != nil {
			return fmt.Errorf("write function %q: %w", name, err)
		}
	}
	for name := range tomls {
		err := p.await(ctx, fmt.Sprintf("serve function %q", name), func(ctx context.Context) (bool, error) {
			return p.serves(ctx, name, begin)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// write has the platform see the whole file or none of it.
func (p *Platform) write(name, toml string) error {
	dir := filepath.Join(p.functions(), name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	next := filepath.Join(p.dir, name+".toml")
	if err := os.WriteFile(next, []byte(toml), 0o644); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(dir, "function.toml"))
}

func (p *Platform) serves(ctx context.Context, name string, since time.Time) (bool, error) {
	d, err := p.Control.Describe(ctx, name)
	if err != nil {
		return false, err // it has not been seen yet
	}
	if d.Error != "" {
		return false, &hopeless{fmt.Sprintf("function %q is refused: %s", name, d.Error)}
	}
	return !d.Loaded.Before(since) && d.Revision != "", nil
}

// AwaitInstances waits until a function has exactly n instances and each of
// them is idle.
func (p *Platform) AwaitInstances(ctx context.Context, name string, n int) error {
	return p.await(ctx, fmt.Sprintf("have %d idle instances of %q", n, name), func(ctx context.Context) (bool, error) {
		all, err := p.Control.Instances(ctx)
		if err != nil {
			return false, err
		}
		idle := 0
		for _, i := range all {
			if i.Function != name {
				continue
			}
			if i.State != "idle" {
				return false, nil
			}
			idle++
		}
		return idle == n, p.startError(ctx, name, idle, n)
	})
}

// AwaitGone waits until a function has no instance and the platform would start
// one at once: after a start that failed it lets some time pass.
func (p *Platform) AwaitGone(ctx context.Context, name string) error {
	if err := p.AwaitInstances(ctx, name, 0); err != nil {
		return err
	}
	return p.await(ctx, fmt.Sprintf("start %q again", name), func(ctx context.Context) (bool, error) {
		d, err := p.Control.Describe(ctx, name)
		return err == nil && time.Now().After(d.RetryAt), err
	})
}

// FailedStarts returns how many starts of a function's instances have failed so
// far, by the platform's own count. Requests need not have seen that: a start
// that fails is tried again while somebody waits.
func (p *Platform) FailedStarts(ctx context.Context, name string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	return failedStarts(resp.Body, name)
}

// failedStarts reads the text format of Prometheus.
func failedStarts(metrics io.Reader, name string) (sum int, err error) {
	prefix := fmt.Sprintf("unifaas_pool_starts_total{function=%q,outcome=", name)
	lines := bufio.NewScanner(metrics)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), prefix)
		if !ok || strings.HasPrefix(rest, `"ok"`) || strings.HasPrefix(rest, `"canceled"`) {
			continue
		}
		_, value, _ := strings.Cut(rest, " ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("read metrics: %w", err)
		}
		sum += int(n)
	}
	return sum, lines.Err()
}

// startError is why instances that should be there can't be started.
func (p *Platform) startError(ctx context.Context, name string, have, want int) error {
	if have >= want {
		return nil
	}
	d, err := p.Control.Describe(ctx, name)
	if err != nil || d.StartError == nil || d.FailedStarts < 3 {
		return err
	}
	return &hopeless{fmt.Sprintf("function %q does not start: %s", name, d.StartError.Error)}
}

// hopeless is an error that waiting does not change.
type hopeless struct{ text string }

func (h *hopeless) Error() string { return h.text }

// await polls until a condition holds or fails.
func (p *Platform) await(ctx context.Context, what string, holds func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, serveTimeout)
	defer cancel()
	var last error
	for {
		ok, err := holds(ctx)
		if ok && err == nil {
			return nil
		}
		if never := (*hopeless)(nil); errors.As(err, &never) {
			return err
		}
		last = err
		select {
		case <-p.ended:
			return fmt.Errorf("the platform ended before it could %s:\n%s", what, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("the platform did not %s in time: %w", what, errors.Join(ctx.Err(), last))
		case <-time.After(poll):
		}
	}
}

// tail returns the end of the platform's log.
func (p *Platform) tail() string {
	const most = 2 << 10
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}

// Doctor returns what the program's doctor says of each sandbox.
func Doctor(ctx context.Context, o Options) ([]control.Sandbox, error) {
	config, err := emptyConfig(o.Dir)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, o.Exe, "--config", config, "doctor", "--json",
		"--state-dir", filepath.Join(o.Dir, "state"), "--run-dir", filepath.Join(o.Dir, "run"))
	cmd.Env = append(environment(), o.Env...)
	var said, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &complaint
	status := cmd.Run() // an error where no sandbox works; the words count
	var found []control.Sandbox
	if err := json.Unmarshal(said.Bytes(), &found); err != nil {
		return nil, fmt.Errorf("ask doctor: %w: %s", errors.Join(status, err), bytes.TrimSpace(complaint.Bytes()))
	}
	// Beside sandboxes it tells of what else the machine has.
	return slices.DeleteFunc(found, func(s control.Sandbox) bool { return s.Kind != control.KindSandbox }), nil
}
