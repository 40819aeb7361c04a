package dockertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest"
)

const (
	// sandboxName is what skips are reported under.
	sandboxName = "docker"
	// startTimeout bounds the wait for a daemon that has been started.
	startTimeout = time.Minute
	// keeperFD is the connection to the keeper.
	keeperFD = 3
)

// Options configure the daemon.
type Options struct {
	// LiveRestore keeps containers alive while the daemon is away.
	LiveRestore bool
	// StorageDriver is that of images and containers; "" is the daemon's choice.
	StorageDriver string
}

// A Daemon is the test binary's daemon. Its methods may be called
// concurrently.
type Daemon struct {
	dir    string
	keeper *os.File

	mu      sync.Mutex
	running bool
	options Options
}

var daemon = sync.OnceValue(func() *Daemon {
	return &Daemon{dir: os.Getenv(dirEnv), keeper: os.NewFile(keeperFD, "keeper")}
})

// Get returns the daemon, running with o. It skips t where there can be none.
func Get(t testing.TB, o Options) *Daemon {
	t.Helper()
	if reason := unavailable(); reason != nil {
		sandboxtest.Skip(t, sandboxName, reason)
	}
	if os.Getenv(dirEnv) == "" {
		t.Fatal("TestMain does not call dockertest.Main")
	}
	d := daemon()
	if err := d.with(o); err != nil {
		t.Fatalf("start the test's own dockerd: %v", err)
	}
	return d
}

// unavailable tells why there can be no daemon here, nil if there can.
func unavailable() sandboxtest.Reason {
	if os.Geteuid() != 0 {
		return sandboxtest.NotRoot{What: "start a dockerd of its own"}
	}
	for _, name := range []string{"dockerd", "runc", "iptables"} {
		if _, err := exec.LookPath(name); err != nil {
			return sandboxtest.Missing{What: name, Remedy: "apt-get install docker.io"}
		}
	}
	return nil
}

func socket(dir string) string { return filepath.Join(dir, "docker.sock") }

// Host is the daemon's address, as in DOCKER_HOST.
func (d *Daemon) Host() string { return "unix://" + socket(d.dir) }

// Runsc is the name of the OCI runtime at which the daemon finds the platform
// itself, which is one under that name. It is built for the first who asks.
func (d *Daemon) Runsc(t testing.TB) string {
	t.Helper()
	const name = "runsc"
	path := runtimePath(d.dir, name)
	if _, err := os.Stat(path); err == nil {
		return name
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "github.com/unifaas/unifaas/cmd/unifaas")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build runsc: %v\n%s", err, out)
	}
	return name
}

func runtimePath(dir, name string) string { return filepath.Join(dir, "runtimes", name) }

// Contains reports whether a process is in one of the daemon's containers.
func (d *Daemon) Contains(pid int) bool {
	groups, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return strings.Contains(string(groups), "/"+groupsOf(os.Getppid())+"/")
}

// Tends reports whether a process is the shim of one of the daemon's
// containers: containerd's process that starts it, holds its streams and waits
// for its end.
func (d *Daemon) Tends(pid int) bool {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	args := strings.Split(string(line), "\x00")
	return strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") && slices.ContainsFunc(args, func(arg string) bool {
		return strings.HasPrefix(arg, d.dir+"/") // containerd's socket
	})
}

// Orphans lists the processes of containers, and their shims, that the daemon
// does not know of. A daemon that is killed while it has a container made
// forgets it, and what waits there to become the container's first process
// waits for ever. That is between it and its containerd.
func (d *Daemon) Orphans(ctx context.Context) ([]int, error) {
	out, err := d.Docker(ctx, "ps", "--all", "--no-trunc", "--quiet")
	if err != nil {
		return nil, err
	}
	known := strings.Fields(out)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var orphans []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !d.Contains(pid) && !d.Tends(pid) {
			continue
		}
		groups, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if !slices.ContainsFunc(known, func(id string) bool { return strings.Contains(string(groups)+string(line), id) }) {
			orphans = append(orphans, pid)
		}
	}
	return orphans, nil
}

// Named lists, in words, what the daemon has whose name holds id: images and
// networks, and containers, also such as have ended.
func (d *Daemon) Named(ctx context.Context, id string) ([]string, error) {
	var found []string
	for what, args := range map[string][]string{
		"image": {"image", "ls", "--all", "--format", "{{.Repository}}:{{.Tag}}"}, "network": {"network", "ls", "--format", "{{.Name}}"},
		"container": {"ps", "--all", "--format", "{{.Names}}"},
	} {
		out, err := d.Docker(ctx, args...)
		if err != nil {
			return nil, err
		}
		for _, name := range strings.Fields(out) {
			if strings.Contains(name, id) {
				found = append(found, what+" "+name)
			}
		}
	}
	slices.Sort(found)
	return found, nil
}

// with has the daemon run with o. A process that the tests have started has
// no keeper and finds it running.
func (d *Daemon) with(o Options) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !kept() {
		return nil
	}
	same := fmt.Sprint(d.options) == fmt.Sprint(o)
	if d.running && same {
		return nil
	}
	if d.running {
		if err := d.ask(request{Signal: syscall.SIGTERM}); err != nil {
			return err
		}
	}
	d.options = o
	return d.start()
}

// Stop ends the daemon with sig and returns when it has ended.
func (d *Daemon) Stop(sig syscall.Signal) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running = false
	return d.ask(request{Signal: sig})
}

// Start starts a daemon that was stopped and returns when it answers.
func (d *Daemon) Start() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.start()
}

func (d *Daemon) start() error {
	if err := d.ask(request{Start: &d.options}); err != nil {
		return err
	}
	d.running = true
	return await(d.dir, nil)
}

// ask has the keeper do something and waits until it is done.
func (d *Daemon) ask(r request) error {
	if err := json.NewEncoder(d.keeper).Encode(r); err != nil {
		return fmt.Errorf("ask the keeper of the daemon: %w", err)
	}
	var answer string
	if err := json.NewDecoder(d.keeper).Decode(&answer); err != nil {
		return fmt.Errorf("ask the keeper of the daemon: %w", err)
	}
	if answer != "" {
		return errors.New(answer)
	}
	return nil
}

// Docker runs Docker's own client and returns what it prints.
func (d *Daemon) Docker(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", append([]string{"--host", d.Host()}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("docker %v: %w: %s", args, err, out)
	}
	return string(out), nil
}

// await waits until the daemon in dir answers, or has ended.
func await(dir string, ended <-chan struct{}) error {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket(dir))
		},
	}}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		err := ping(ctx, &client)
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("dockerd ended: %s", words(dir))
		case <-ctx.Done():
			return fmt.Errorf("dockerd does not answer: %w: %s", err, words(dir))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func ping(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/_ping", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ping: %s", resp.Status)
	}
	return nil
}

// words returns the end of the daemon's log.
func words(dir string) string {
	log, err := os.ReadFile(filepath.Join(dir, "dockerd.log"))
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-2000):])
}
