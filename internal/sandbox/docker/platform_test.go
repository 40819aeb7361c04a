package docker_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
	"github.com/unifaas/unifaas/internal/sandbox/docker"
	"github.com/unifaas/unifaas/internal/sandbox/sandboxtest/dockertest"
)

// patience bounds what takes an instant on a machine with nothing else to do.
const patience = time.Minute

// A platform is a driver with a host of its own on the test's daemon.
type platform struct {
	*testing.T
	daemon *dockertest.Daemon
	host   sandbox.Host
	driver *docker.Driver
	next   atomic.Int64
}

func newPlatform(t *testing.T, o dockertest.Options) *platform {
	t.Helper()
	daemon := dockertest.Get(t, o)
	var random [3]byte
	if _, err := rand.Read(random[:]); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := &platform{T: t, daemon: daemon, host: sandbox.Host{
		Node: "d" + hex.EncodeToString(random[:]), StateDir: dir, RunDir: dir, Logger: slog.New(slog.DiscardHandler),
	}}
	t.Cleanup(p.wantNoContainers)
	p.driver = p.freshDriver()
	return p
}

func (p *platform) freshDriver() *docker.Driver {
	d := docker.New(p.host, docker.Options{Host: p.daemon.Host()})
	p.Cleanup(func() {
		if err := d.Close(); err != nil {
			p.Errorf("Close: %v", err)
		}
	})
	return d
}

func (p *platform) ctx() context.Context {
	ctx, cancel := context.WithTimeout(p.Context(), patience)
	p.Cleanup(cancel)
	return ctx
}

// docker runs Docker's client, which must work.
func (p *platform) docker(args ...string) string {
	p.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := p.daemon.Docker(ctx, args...)
	if err != nil {
		p.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func (p *platform) wantNoContainers() {
	if left := p.docker("ps", "--all", "--quiet", "--filter", "label=unifaas.node="+p.host.Node); left != "" {
		p.Errorf("containers left behind: %s", left)
	}
}

// guest is the suite's guest as the root file system of an image.
func guest(t *testing.T) string { return build(t, "../sandboxtest/guest/cmd") }

var built sync.Map // package to its program's content

// build returns a root file system with the program of a package as /program.
func build(t *testing.T, pkg string) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	if content, ok := built.Load(pkg); ok {
		if err := os.WriteFile(program, content.([]byte), 0o755); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	built.Store(pkg, content)
	return dir
}

// revision returns a revision of rootfs's program, as edit wants it.
func (p *platform) revision(rootfs string, edit ...func(*faas.Revision)) *faas.Revision {
	rev := &faas.Revision{
		Function: faas.Function{
			Ref: faas.NewRef("guest"), Sandbox: "docker", Command: []string{"/program"}, Port: 8080,
			Image:  faas.ImageSource{Scheme: "dir", Location: rootfs},
			Limits: faas.Limits{Memory: 128 << 20, CPUs: 1, Pids: 64, Disk: 16 << 20},
		},
		Image: faas.Image{Digest: digest(p, rootfs), Rootfs: rootfs},
	}
	for _, e := range edit {
		e(rev)
	}
	rev.Digest = digest(p, rev)
	return rev
}

func digest(t testing.TB, of any) string {
	t.Helper()
	text, err := json.Marshal(of)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (p *platform) prepare(rev *faas.Revision) sandbox.Artifact {
	p.Helper()
	a, err := p.driver.Prepare(p.ctx(), rev)
	if err != nil {
		p.Fatalf("Prepare: %v", err)
	}
	return a
}

// A running is an instance with its output and record.
type running struct {
	sandbox.Instance
	p      *platform
	record *sandbox.Record
	output *output
}

// launch starts an instance; it is stopped when the test ends.
func (p *platform) launch(art sandbox.Artifact, rev *faas.Revision) (*running, error) {
	id := fmt.Sprintf("%s-%d", p.host.Node, p.next.Add(1))
	dir := filepath.Join(p.host.RunDir, id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	out, fifo, err := newOutput(filepath.Join(dir, "output"))
	if err != nil {
		return nil, err
	}
	rec := &sandbox.Record{ID: id, Sandbox: "docker", Function: rev.Function.Ref, Revision: rev, Dir: dir}
	inst, err := p.driver.Start(p.ctx(), art, sandbox.Spec{
		ID: id, Revision: rev, Dir: dir, Output: fifo,
		Record: func(state any) (err error) {
			rec.State, err = json.Marshal(state)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	p.Cleanup(func() { p.stop(inst) })
	return &running{inst, p, rec, out}, nil
}

func (p *platform) stop(inst sandbox.Instance) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := inst.Stop(ctx); err != nil {
		p.Errorf("Stop: %v", err)
	}
}

// start starts an instance that must become ready.
func (p *platform) start(art sandbox.Artifact, rev *faas.Revision) *running {
	p.Helper()
	r, err := p.launch(art, rev)
	if err != nil {
		p.Fatalf("Start: %v", err)
	}
	if err := r.Ready(p.ctx()); err != nil {
		p.Fatalf("Ready: %v\noutput: %s", err, r.output)
	}
	return r
}

// get is one request, on a connection of its own.
func get(ctx context.Context, inst sandbox.Instance, path string) (string, error) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return inst.Dial(ctx) },
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://function"+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), err
}

func (r *running) get(path string) string {
	r.p.Helper()
	body, err := get(r.p.ctx(), r, path)
	if err != nil {
		r.p.Fatalf("GET %s: %v\noutput: %s", path, err, r.output)
	}
	return body
}

func (p *platform) wantEnd(inst sandbox.Instance) sandbox.Exit {
	p.Helper()
	select {
	case <-inst.Done():
	case <-time.After(patience):
		p.Fatal("the instance has not ended")
	}
	return inst.Wait()
}

// eventually waits until done.
func (p *platform) eventually(what string, done func() bool) {
	p.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			p.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// An output collects what comes out of a FIFO.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func newOutput(path string) (*output, *os.File, error) {
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return nil, nil, err
	}
	fifo, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	o := &output{}
	go func() {
		for lines := bufio.NewReader(fifo); ; {
			line, err := lines.ReadString('\n')
			o.mu.Lock()
			o.buf.WriteString(line)
			o.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return o, fifo, nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
