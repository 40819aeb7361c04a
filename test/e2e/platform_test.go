package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/control"
)

// patience bounds every wait: far beyond what a slow machine needs, so that
// only what never comes fails.
const patience = 3 * time.Minute

// A platform is a `unifaas up` with folders of its own. It may be started
// again after it has ended. Its methods are not for concurrent use, except
// for those that only send requests.
type platform struct {
	base, functions, state, run, tmp string

	flags   []string
	attr    *syscall.SysProcAttr
	env     []string
	wrapper []string // a command that executes the platform
	journal *journal
	client  *control.Client

	cmd    *exec.Cmd
	ended  chan struct{} // closed when the process has
	status control.Status
}

func makePlatform(flags ...string) (*platform, error) {
	base, err := os.MkdirTemp("", "unifaas-e2e-")
	if err != nil {
		return nil, err
	}
	p := &platform{
		base: base, functions: filepath.Join(base, "functions"), state: filepath.Join(base, "state"),
		run: filepath.Join(base, "run"), tmp: filepath.Join(base, "tmp"),
		flags: flags, journal: &journal{},
	}
	for _, dir := range []string{p.functions, p.tmp} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	p.client = control.NewClient(p.run)
	return p, os.Chmod(base, 0o755)
}

// newPlatform makes a platform for one test, which stops it, wants it to
// leave nothing behind, and shows its log when the test failed.
func newPlatform(t testing.TB, flags ...string) *platform {
	t.Helper()
	needsGVisor(t)
	p, err := makePlatform(flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.finish(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("log of the platform:\n%s", p.journal.tail(0))
		}
	})
	return p
}

// relocated must be called after the folders have been set anew.
func (p *platform) relocated() *platform {
	p.client = control.NewClient(p.run)
	return p
}

// command returns the command line `unifaas --state-dir ... args`.
func (p *platform) command(args ...string) *exec.Cmd {
	b, err := build()
	if err != nil {
		panic(err) // whoever made p has built before
	}
	line := slices.Concat(p.wrapper, []string{b.unifaas, "--state-dir", p.state, "--run-dir", p.run}, args)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = slices.Concat([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + p.base, "TMPDIR=" + p.tmp, "UNIFAAS_CONFIG=",
	}, p.env)
	cmd.SysProcAttr = p.attr
	return cmd
}

// up starts the process without waiting for it to serve.
func (p *platform) up() error {
	args := append([]string{"up", "--functions", p.functions, "--admin-listen", "127.0.0.1:0"}, p.flags...)
	if !slices.Contains(p.flags, "--listen") {
		args = append(args, "--listen", "127.0.0.1:0")
	}
	p.cmd = p.command(args...)
	p.cmd.Stdout, p.cmd.Stderr = p.journal, p.journal
	p.cmd.WaitDelay = 5 * time.Second // for the log, should anyone else hold it
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait() // its state is read by whoever waits for ended
		close(ended)
	}(p.cmd, p.ended)
	return nil
}

// launch starts the platform and returns when it is ready.
func (p *platform) launch() error {
	if err := p.up(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		status, err := p.client.Status(ctx)
		if err == nil && status.PID == p.cmd.Process.Pid && isReady(ctx, status.Admin) {
			p.status = status
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("the platform ended before it was ready: %v\n%s", p.cmd.ProcessState, p.journal.tail(20))
		case <-ctx.Done():
			return fmt.Errorf("the platform was not ready in %v: %w\n%s", patience, errors.Join(err, ctx.Err()), p.journal.tail(20))
		case <-ticker.C:
		}
	}
}

func isReady(ctx context.Context, admin string) bool {
	a, err := fetch(ctx, "GET", "http://"+admin+"/readyz", nil)
	return err == nil && a.status == 200
}

func (p *platform) start(t testing.TB) *platform {
	t.Helper()
	if err := p.launch(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *platform) running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// await waits for the process's end and returns its exit code, -1 after a signal.
func (p *platform) await() (int, error) {
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(patience + 30*time.Second):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines, into the log
		return -1, fmt.Errorf("the platform did not end; asked it for its goroutines:\n%s", p.journal.tail(200))
	}
}

// shutdown asks the platform to end, and wants it to end well.
func (p *platform) shutdown() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	code, err := p.await()
	if err == nil && code != 0 {
		err = fmt.Errorf("after SIGTERM the platform ended with %v, want 0:\n%s", p.cmd.ProcessState, p.journal.tail(20))
	}
	return err
}

func (p *platform) stop(t testing.TB) {
	t.Helper()
	if err := p.shutdown(); err != nil {
		t.Fatal(err)
	}
}

// kill ends the platform as a crash would.
func (p *platform) kill(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.await(); err != nil {
		t.Fatal(err)
	}
}
