package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A launcher starts scripted instances and watches the pool's promises.
type launcher struct {
	delay  time.Duration
	hang   string                                 // the function whose starts never end by themselves
	ill    string                                 // the sandbox in which every start fails
	script func(ctx context.Context, n int) error // nil: every start succeeds
	born   func(*fake)                            // prepares an instance before it is handed over

	mu       sync.Mutex
	launches int
	running  int // launches in progress
	peak     int // most of them at once
	canceled int
	all      []*fake
	order    []string // functions in the order of their launches
}

func (l *launcher) Launch(ctx context.Context, rev *faas.Revision) (sandbox.Instance, error) {
	l.mu.Lock()
	l.launches++
	n := l.launches
	l.running++
	l.peak = max(l.peak, l.running)
	l.order = append(l.order, rev.Function.Ref.Name)
	l.mu.Unlock()
	err := l.pass(ctx, rev, n)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			l.canceled++
		}
		return nil, err
	}
	i := newFake(fmt.Sprintf("%s-%d", rev.Function.Ref.Name, n), rev)
	if l.born != nil {
		l.born(i)
	}
	l.all = append(l.all, i)
	return i, nil
}

func (l *launcher) pass(ctx context.Context, rev *faas.Revision, n int) error {
	if rev.Function.Ref.Name == l.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	l.mu.Lock()
	ill := l.ill != "" && rev.Function.Sandbox == l.ill
	l.mu.Unlock()
	if ill {
		return faas.Errorf(faas.KindBroken, "sandbox %q is ill", rev.Function.Sandbox)
	}
	if l.delay > 0 {
		select {
		case <-time.After(l.delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if l.script != nil {
		return l.script(ctx, n)
	}
	return nil
}

// heal lets starts in every sandbox succeed, or with a name fail in that one.
func (l *launcher) heal(ill string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ill = ill
}

func (l *launcher) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.launches
}

func (l *launcher) peakStarts() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peak
}

// sequence names the functions in the order of their launches.
func (l *launcher) sequence() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.order, " ")
}

func (l *launcher) canceledStarts() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.canceled
}

// nth returns the nth instance that was started or adopted.
func (l *launcher) nth(n int) *fake {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all[n]
}

// recovered makes an instance that outlived an earlier run.
func (l *launcher) recovered(id string, rev *faas.Revision) *fake {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := newFake(id, rev)
	l.all = append(l.all, i)
	return i
}

// alive returns the instances that have not been stopped, the oldest first.
func (l *launcher) alive() (alive []*fake) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range l.all {
		if !i.isStopped() {
			alive = append(alive, i)
		}
	}
	return alive
}

// A fake is an instance that does as it is told.
type fake struct {
	id      string
	rev     *faas.Revision
	done    chan struct{}
	memory  atomic.Int64
	dial    func(context.Context) (net.Conn, error)
	stopErr func(attempt int) error
	stopFor time.Duration // how long a stop takes

	mu      sync.Mutex
	exit    sandbox.Exit
	ended   bool
	stopped bool
	stops   int
}

func newFake(id string, rev *faas.Revision) *fake {
	f := &fake{id: id, rev: rev, done: make(chan struct{})}
	f.memory.Store(10 << 20)
	return f
}

func (f *fake) ID() string                  { return f.id }
func (f *fake) Ready(context.Context) error { return nil }
func (f *fake) Done() <-chan struct{}       { return f.done }

func (f *fake) Dial(ctx context.Context) (net.Conn, error) {
	f.mu.Lock()
	dial := f.dial
	f.mu.Unlock()
	if dial == nil {
		return nil, errors.New("connection refused")
	}
	return dial(ctx)
}

func (f *fake) Wait() sandbox.Exit {
	<-f.done
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.exit
}

func (f *fake) Stats(context.Context) (sandbox.Stats, error) {
	return sandbox.Stats{Memory: f.memory.Load()}, nil
}

func (f *fake) Stop(ctx context.Context) error {
	f.mu.Lock()
	f.stops++
	attempt := f.stops
	f.mu.Unlock()
	if f.stopFor > 0 {
		select {
		case <-time.After(f.stopFor):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if f.stopErr != nil {
		if err := f.stopErr(attempt); err != nil {
			return err
		}
	}
	f.crash(sandbox.Exit{Reason: "stopped"})
	f.mu.Lock()
	f.stopped = true
	f.mu.Unlock()
	return nil
}

func (f *fake) setDial(dial func(context.Context) (net.Conn, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dial = dial
}

// crash ends the function, as if by itself.
func (f *fake) crash(exit sandbox.Exit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		f.ended, f.exit = true, exit
		close(f.done)
	}
}

func (f *fake) isStopped() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stopped
}

// memory is a machine's memory, shared by a launcher's instances.
type memory struct {
	launcher *launcher
	mu       sync.Mutex
	total    int64
	err      error
}

func (m *memory) Available() (int64, error) {
	m.mu.Lock()
	available, err := m.total, m.err
	m.mu.Unlock()
	for _, i := range m.launcher.alive() {
		available -= i.memory.Load()
	}
	return available, err
}

func (m *memory) grow(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total += bytes
}

// function returns a revision with defaults that edits change.
func function(name string, edits ...func(*faas.Function)) *faas.Revision {
	f := faas.Function{
		Ref: faas.NewRef(name), Concurrency: 1, Keepalive: time.Minute, Queue: 1000, StartTimeout: 25 * time.Second,
	}
	for _, edit := range edits {
		edit(&f)
	}
	return &faas.Revision{Function: f, Digest: "sha256:" + name + "00000000000000"}
}

// revised returns another revision of rev's function.
func revised(rev *faas.Revision, n int) *faas.Revision {
	return &faas.Revision{Function: rev.Function, Digest: fmt.Sprintf("%s-%d", rev.Digest, n)}
}

// newPool makes a pool that is stopped, and checked for leaks, at the end.
func newPool(t *testing.T, l *launcher, edits ...func(*Options)) *Pool {
	t.Helper()
	o := Options{Launcher: l, StartParallelism: 4}
	for _, edit := range edits {
		edit(&o)
	}
	p := New(o)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		if err := p.Stop(ctx); err != nil {
			t.Errorf("Stop: %v", err)
		}
		if alive := l.alive(); len(alive) > 0 {
			t.Errorf("%d instances left after Stop", len(alive))
		}
	})
	return p
}

// inBubble runs a test under virtual time.
func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// A request is an Acquire under way.
type request struct {
	lease  *Lease
	err    error
	done   bool // valid once the bubble is quiet
	cancel context.CancelFunc
}

// send makes n requests in order and waits until all is quiet.
func send(p *Pool, rev *faas.Revision, n int) []*request {
	sent := make([]*request, n)
	for k := range sent {
		ctx, cancel := context.WithCancel(context.Background())
		r := &request{cancel: cancel}
		sent[k] = r
		go func() {
			r.lease, r.err = p.Acquire(ctx, rev)
			r.done = true
		}()
		synctest.Wait()
	}
	return sent
}

// serve makes one request and ends it well.
func serve(t *testing.T, p *Pool, rev *faas.Revision) {
	t.Helper()
	acquire(t, p, rev).Release(true)
}

func acquire(t *testing.T, p *Pool, rev *faas.Revision) *Lease {
	t.Helper()
	l, err := p.Acquire(t.Context(), rev)
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	return l
}

func doneCount(rs []*request) (n int) {
	for _, r := range rs {
		if r.done {
			n++
		}
	}
	return n
}

func wantKind(t *testing.T, err error, kind faas.Kind) *faas.Error {
	t.Helper()
	var e *faas.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("got error %v, want one of kind %v", err, kind)
	}
	return e
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}
