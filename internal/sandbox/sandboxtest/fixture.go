package sandboxtest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/host/leak"
	"github.com/unifaas/unifaas/internal/sandbox"
)

const mib = 1 << 20

// A fixture is one test's platform: a driver on a host of its own. When the
// test ends, it stops what still runs and fails the test if anything is left.
type fixture struct {
	*testing.T
	suite  *suite
	host   sandbox.Host
	driver sandbox.Driver
	base   string // folder of everything

	mu      sync.Mutex
	started int
}

// gives tells whether the driver gives a promise.
func (f *fixture) gives(p Promise) bool {
	_, lacks := f.suite.harness.Lacks[p]
	return !lacks
}

func (s *suite) fixture(t *testing.T) *fixture {
	t.Helper()
	var random [3]byte
	if _, err := rand.Read(random[:]); err != nil {
		t.Fatal(err)
	}
	f := s.fixtureIn(t, shortTempDir(t), "t"+hex.EncodeToString(random[:]))
	before := f.snapshot()
	t.Cleanup(func() { f.wantNothingLeft(before) })
	f.driver = f.freshDriver()
	return f
}

// fixtureIn returns a fixture without a driver that works in dir.
func (s *suite) fixtureIn(t *testing.T, dir, node string) *fixture {
	t.Helper()
	f := &fixture{T: t, suite: s, base: dir, host: sandbox.Host{
		Node:     node,
		StateDir: filepath.Join(dir, "state"),
		RunDir:   filepath.Join(dir, "run"),
		Exe:      s.harness.Exe,
		Logger:   slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}}
	for _, d := range []string{f.host.StateDir, f.host.RunDir} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// testLog passes the driver's log on to the test's.
type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	if l.t.Context().Err() == nil {
		l.t.Logf("%s", b)
	}
	return len(b), nil
}

// freshDriver makes another driver on the same host, as a new process would.
func (f *fixture) freshDriver() sandbox.Driver {
	f.Helper()
	d := f.suite.harness.New(f, f.host)
	if c, ok := d.(io.Closer); ok {
		f.Cleanup(func() {
			if err := c.Close(); err != nil {
				f.Errorf("close the driver: %v", err)
			}
		})
	}
	return d
}

func (f *fixture) leakOptions() []leak.Option {
	return []leak.Option{
		leak.Named(f.host.Node), leak.NamedUnder(f.host.StateDir), leak.NamedUnder(f.host.RunDir), leak.Descendants(os.Getpid()),
	}
}

func (f *fixture) snapshot() leak.State {
	f.Helper()
	state, err := leak.Snapshot(f.leakOptions()...)
	if err != nil {
		f.Fatal(err)
	}
	return state
}

// wantNothingLeft fails the test if more is there than before.
func (f *fixture) wantNothingLeft(before leak.State) {
	f.Helper()
	for _, thing := range f.settle(before) {
		f.Errorf("left behind: %s", thing)
	}
}

// settle lists what more there is than before, once that has come to rest.
func (f *fixture) settle(before leak.State) []string {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), f.suite.harness.Timeout/4)
	defer cancel()
	left, err := leak.Settle(ctx, before, f.leakOptions()...)
	if err != nil {
		f.Error(err)
	}
	return left
}

// ctx returns a context that ends with the harness's timeout.
func (f *fixture) ctx() context.Context {
	ctx, cancel := context.WithTimeout(f.Context(), f.suite.harness.Timeout)
	f.Cleanup(cancel)
	return ctx
}

// revision returns a revision of the guest, as edit wants it.
func (f *fixture) revision(edit ...func(*faas.Revision)) *faas.Revision {
	f.Helper()
	rev := &faas.Revision{
		Function: faas.Function{
			Ref:          faas.NewRef("guest"),
			Sandbox:      f.driver.Name(),
			Image:        faas.ImageSource{Scheme: "dir", Location: f.suite.rootfs},
			Command:      []string{"/guest"},
			Port:         8080,
			Concurrency:  16,
			StartTimeout: f.suite.harness.Timeout,
			Limits:       faas.Limits{Memory: 128 * mib, CPUs: 1, Pids: 64, Disk: 16 * mib},
			Ready:        faas.Ready{Kind: faas.ReadyPort},
		},
		Image: faas.Image{Digest: digestOf(f, f.suite.rootfs), Rootfs: f.suite.rootfs},
	}
	for _, e := range edit {
		e(rev)
	}
	rev.Digest = digestOf(f, rev)
	return rev
}

func digestOf(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// env sets one variable of a revision's environment.
func env(name, value string) func(*faas.Revision) {
	return func(rev *faas.Revision) {
		if rev.Function.Env == nil {
			rev.Function.Env = map[string]string{}
		}
		rev.Function.Env[name] = value
	}
}

// newSpec returns a spec whose instance folder, log and record are real.
func (f *fixture) newSpec(rev *faas.Revision) (sandbox.Spec, *recorder) {
	f.Helper()
	f.mu.Lock()
	f.started++
	id := fmt.Sprintf("%s-%d", f.host.Node, f.started)
	f.mu.Unlock()
	dir := filepath.Join(f.base, "instances", id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		f.Fatal(err)
	}
	r := &recorder{rec: sandbox.Record{
		ID: id, Sandbox: f.driver.Name(), Function: rev.Function.Ref, Revision: rev,
		BootID: bootID(f), Created: time.Now().UTC(), Dir: dir,
	}}
	return sandbox.Spec{ID: id, Revision: rev, Dir: dir, Record: r.record}, r
}

func bootID(t testing.TB) string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	return string(id[:len(id)-1])
}

// A recorder keeps an instance's record as the platform would on disk.
type recorder struct {
	mu    sync.Mutex
	rec   sandbox.Record
	calls int
	hook  func(call int) error // asked before each call, counted from 0
}

func (r *recorder) record(state any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	call := r.calls
	r.calls++
	if r.hook != nil {
		if err := r.hook(call); err != nil {
			return err
		}
	}
	data, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("encode the record: %w", err)
	}
	r.rec.State = data
	return nil
}

// read returns the record as it would come back from the disk.
func (r *recorder) read(t testing.TB) sandbox.Record {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	data, err := json.Marshal(r.rec)
	if err != nil {
		t.Fatal(err)
	}
	var back sandbox.Record
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	back.Dir = r.rec.Dir
	back.Output = outputOf(t, back)
	return back
}

// outputOf opens what an instance's output goes to once more, or returns nil
// where nobody reads it.
func outputOf(t testing.TB, rec sandbox.Record) *os.File {
	base := filepath.Dir(filepath.Dir(rec.Dir))
	for _, name := range []string{logName(rec.ID), crashLogName(rec.ID)} {
		if f, err := os.OpenFile(filepath.Join(base, name), os.O_RDWR, 0); err == nil {
			t.Cleanup(func() { _ = f.Close() })
			return f
		}
	}
	return nil
}

// Names of the FIFOs that take instances' output.
func logName(id string) string      { return id + ".log" }
func crashLogName(id string) string { return id + ".crash-log" }

// prepare is the driver's Prepare, which must work.
func (f *fixture) prepare(rev *faas.Revision) sandbox.Artifact {
	f.Helper()
	artifact, err := f.driver.Prepare(f.ctx(), rev)
	if err != nil {
		f.Fatalf("Prepare: %v", err)
	}
	return artifact
}

// stop stops inst, which must work.
func (f *fixture) stop(inst sandbox.Instance) {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), f.suite.harness.Timeout)
	defer cancel()
	if err := inst.Stop(ctx); err != nil {
		f.Errorf("Stop: %v", err)
	}
}

// wantGone checks that Recover says that nothing is left.
func (f *fixture) wantGone(d sandbox.Driver, rec sandbox.Record) {
	f.Helper()
	if _, err := d.Recover(f.ctx(), rec); !errors.Is(err, sandbox.ErrGone) {
		f.Errorf("Recover: got %v, want ErrGone", err)
	}
}
