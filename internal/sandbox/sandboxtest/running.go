package sandboxtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// A running is an instance with what the platform would hold beside it.
type running struct {
	sandbox.Instance
	f      *fixture
	spec   sandbox.Spec
	record *recorder
	out    *collector
	client *http.Client
	dead   bool // its platform is
}

// launch starts an instance of rev and does not wait for it. It is stopped
// when the test ends.
func (f *fixture) launch(rev *faas.Revision) *running {
	f.Helper()
	artifact := f.prepare(rev)
	spec, record := f.newSpec(rev)
	out := f.collect(&spec)
	inst, err := f.driver.Start(f.ctx(), artifact, spec)
	if err != nil {
		f.Fatalf("Start: %v\noutput: %s", err, out.text())
	}
	f.Cleanup(func() { f.stop(inst) })
	return f.running(inst, spec, record, out)
}

func (f *fixture) running(inst sandbox.Instance, spec sandbox.Spec, record *recorder, out *collector) *running {
	transport := &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return inst.Dial(ctx) },
		MaxIdleConnsPerHost: 16,
		DisableCompression:  true,
	}
	f.Cleanup(transport.CloseIdleConnections)
	return &running{
		Instance: inst, f: f, spec: spec, record: record, out: out,
		client: &http.Client{Transport: transport},
	}
}

// start starts an instance and waits until it is ready.
func (f *fixture) start(edit ...func(*faas.Revision)) *running {
	f.Helper()
	r := f.launch(f.revision(edit...))
	if err := r.Ready(f.ctx()); err != nil {
		f.Fatalf("Ready: %v\noutput: %s", err, r.out.text())
	}
	return r
}

// request does one request to the guest and returns its answer's body.
func (r *running) request(ctx context.Context, method, path string, body io.Reader) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://guest"+path, body)
	if err != nil {
		return "", err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d: %s", resp.StatusCode, answer)
	}
	return string(answer), nil
}

// get is a GET of path that must work.
func (r *running) get(path string) string {
	r.f.Helper()
	answer, err := r.request(r.f.ctx(), http.MethodGet, path, nil)
	if err != nil {
		r.f.Fatalf("GET %s: %v\noutput: %s", path, err, r.out.text())
	}
	return answer
}

// getJSON is get for an answer in JSON.
func (r *running) getJSON(path string, into any) {
	r.f.Helper()
	decode(r.f, r.get(path), into)
}

// crash makes the function end by SIGSEGV.
func (r *running) crash() {
	r.f.Helper()
	if answer, err := r.request(r.f.ctx(), http.MethodGet, "/crash", nil); err == nil {
		r.f.Errorf("an instance that crashed has answered %q", answer)
	}
}

// wantHello checks that the instance answers.
func (r *running) wantHello() {
	r.f.Helper()
	if got := r.get("/hello"); got != "hello" {
		r.f.Errorf("GET /hello: got %q", got)
	}
}

// wantExit waits for the instance's end.
func (r *running) wantExit() sandbox.Exit {
	r.f.Helper()
	select {
	case <-r.Done():
	case <-time.After(r.f.suite.harness.Timeout):
		r.f.Fatalf("the instance has not ended\noutput: %s", r.out.text())
	}
	return r.Wait()
}

func query(path string, pairs ...any) string {
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Set(fmt.Sprint(pairs[i]), fmt.Sprint(pairs[i+1]))
	}
	return path + "?" + values.Encode()
}

// A collector reads an instance's log.
type collector struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	reader *os.File
}

// collectLimit bounds what a collector keeps.
const collectLimit = 1 << 20

// pipe gives spec a log like the platform's: a FIFO, open for both.
func (f *fixture) pipe(spec *sandbox.Spec) (reader *os.File) {
	f.Helper()
	path := filepath.Join(f.base, logName(spec.ID))
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		f.Fatal(err)
	}
	both, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		f.Fatal(err)
	}
	reader, err = os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = both.Close(); _ = reader.Close() })
	spec.Output = both
	return reader
}

// collect gives spec a log that is read all the time.
func (f *fixture) collect(spec *sandbox.Spec) *collector {
	f.Helper()
	return f.collector(f.pipe(spec))
}

// collectFrom reads the FIFO at path all the time, and keeps it from ending
// between its writers.
func (f *fixture) collectFrom(path string) *collector {
	f.Helper()
	both, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		f.Fatal(err)
	}
	return f.collector(both)
}

func (f *fixture) collector(reader *os.File) *collector {
	c := &collector{reader: reader}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := io.Copy(c, c.reader)
		if err != nil && !errors.Is(err, os.ErrClosed) {
			f.Errorf("read the output: %v", err)
		}
	}()
	f.Cleanup(func() { _ = c.reader.Close(); <-done })
	return c
}

// Write keeps b's beginning, up to the limit.
func (c *collector) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf.Write(b[:min(len(b), collectLimit-c.buf.Len())])
	return len(b), nil
}

func (c *collector) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}

// want waits until the log holds text.
func (c *collector) want(f *fixture, text string) {
	f.Helper()
	f.eventually(fmt.Sprintf("the output holds %q", text), func() bool {
		return bytes.Contains([]byte(c.text()), []byte(text))
	})
}

// eventually waits until done, and fails the test when that takes too long.
func (f *fixture) eventually(what string, done func() bool) {
	f.Helper()
	deadline := time.Now().Add(f.suite.harness.Timeout)
	for !done() {
		if time.Now().After(deadline) {
			f.Fatalf("not within %v: %s", f.suite.harness.Timeout, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// decode reads an answer in JSON.
func decode(f *fixture, answer string, into any) {
	f.Helper()
	if err := json.Unmarshal([]byte(answer), into); err != nil {
		f.Fatalf("decode %.80q: %v", answer, err)
	}
}
