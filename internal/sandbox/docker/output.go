package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

const (
	// seenFile, in an instance's folder, bears the time up to which its output
	// has been taken over: the rest is in Docker's log of the container.
	seenFile = "output-seen"
	// seenEvery is how often that time is noted while there is output.
	seenEvery = 200 * time.Millisecond
)

// A pump carries a container's output to the instance's FIFO, by a connection
// to the Engine that holds the function back when nobody reads. When the
// connection breaks (the Engine was restarted), it makes another, and fetches
// what was said in between from Docker's log. Its methods may be called
// concurrently, and on a nil pump.
type pump struct {
	inst *instance
	seen string   // path of the note; "" for none
	fifo *os.File // not blocking, so that a write can be ended

	cancel  context.CancelFunc
	drained chan struct{} // closed when run has returned

	mu     sync.Mutex
	noted  time.Time
	closed bool
}

// newPump returns a pump that writes to the FIFO at path.
func newPump(i *instance, path, dir string) (*pump, error) {
	fifo, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open output: %w", err)
	}
	return &pump{inst: i, fifo: fifo, seen: filepath.Join(dir, seenFile), drained: make(chan struct{})}, nil
}

// start attaches to the container and carries its output from now on. It must
// come before the container's start, or the beginning is lost.
func (p *pump) start(ctx context.Context) error {
	conn, err := p.attach(ctx)
	if err != nil {
		return err
	}
	p.note(time.Now())
	p.begin(&conn)
	return nil
}

// begin carries output in the background, from conn first, if it is not nil.
func (p *pump) begin(conn *client.HijackedResponse) {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go p.run(ctx, conn)
}

func (p *pump) attach(ctx context.Context) (client.HijackedResponse, error) {
	r, err := p.inst.driver.engine.ContainerAttach(ctx, p.inst.id, client.ContainerAttachOptions{Stream: true, Stdout: true, Stderr: true})
	return r.HijackedResponse, err
}

// run carries output until the container has ended or the pump is closed.
func (p *pump) run(ctx context.Context, conn *client.HijackedResponse) {
	defer close(p.drained)
	pause := firstPause
	for {
		if conn != nil {
			p.copy(ctx, conn.Reader, conn)
			pause = firstPause
		}
		select {
		case <-ctx.Done():
			return
		case <-p.inst.ending:
			return
		case <-time.After(pause):
			pause = min(2*pause, maxPause)
		}
		conn = p.resume(ctx)
	}
}

// copy carries the multiplexed stream r to its end.
func (p *pump) copy(ctx context.Context, r io.Reader, c interface{ Close() }) {
	stop := context.AfterFunc(ctx, c.Close)
	defer func() {
		stop()
		c.Close()
	}()
	_, _ = stdcopy.StdCopy(p, p, r) // its end, however it came, is the end
}

// resume attaches anew and fetches what was said since the last note.
func (p *pump) resume(ctx context.Context) *client.HijackedResponse {
	c, err := p.inst.driver.engine.ContainerInspect(ctx, p.inst.id, client.ContainerInspectOptions{})
	if err != nil || c.Container.State == nil || !c.Container.State.Running {
		return nil // its end is for the events to tell
	}
	since := p.lastNote()
	conn, err := p.attach(ctx)
	if err != nil {
		return nil
	}
	if err := p.fetch(ctx, since, time.Now()); err != nil && ctx.Err() == nil {
		p.inst.driver.host.Logger.Warn("cannot fetch an instance's output of the time without a connection",
			"instance", p.inst.id, "err", err)
	}
	return &conn
}

// fetch copies what the container said between two moments from Docker's log.
func (p *pump) fetch(ctx context.Context, since, until time.Time) error {
	log, err := p.inst.driver.engine.ContainerLogs(ctx, p.inst.id, client.ContainerLogsOptions{
		ShowStdout: true, ShowStderr: true, Since: stamp(since), Until: stamp(until),
	})
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	_, err = stdcopy.StdCopy(p, p, log)
	return err
}

// stamp writes a time as the Engine's API takes it: seconds, with nine
// decimals.
func stamp(t time.Time) string {
	return strconv.FormatInt(t.Unix(), 10) + "." + fmt.Sprintf("%09d", t.Nanosecond())
}

// Write writes to the FIFO, which may take as long as nobody reads.
func (p *pump) Write(b []byte) (int, error) {
	n, err := p.fifo.Write(b)
	p.note(time.Now())
	return n, err
}

// note notes that all output up to t has been taken over, now and then.
func (p *pump) note(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.Sub(p.noted) < seenEvery {
		return
	}
	err := os.Chtimes(p.seen, t, t)
	if errors.Is(err, os.ErrNotExist) {
		err = os.WriteFile(p.seen, nil, 0o600)
	}
	if err == nil {
		p.noted = t
	}
}

// lastNote returns the time of the last note, of this process or of the one
// before it.
func (p *pump) lastNote() time.Time {
	info, err := os.Stat(p.seen)
	if err != nil {
		return time.Now()
	}
	return info.ModTime()
}

// settle waits until everything has been carried, for limit at most.
func (p *pump) settle(limit time.Duration) {
	if p == nil || p.cancel == nil {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.drained:
	case <-timer.C:
	}
}

// close ends the pump and waits for its end. What it has not written by then
// is lost.
func (p *pump) close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	again := p.closed
	p.closed = true
	p.mu.Unlock()
	if p.cancel != nil {
		p.cancel()
		// A write that nobody reads ends now.
		_ = p.fifo.SetWriteDeadline(time.Unix(1, 0))
		<-p.drained
	}
	if !again {
		_ = p.fifo.Close()
	}
}

// hurry gives writes that nobody reads a moment to end.
func (p *pump) hurry() {
	if p != nil {
		_ = p.fifo.SetWriteDeadline(time.Now().Add(lastWords / 2))
	}
}

// pathOf returns a path by which a file that is open here can be opened
// again, and the one by which another process can: "" when it has no name.
func pathOf(f *os.File) (here, elsewhere string, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return "", "", err
	}
	err = raw.Control(func(fd uintptr) { here = "/proc/self/fd/" + strconv.Itoa(int(fd)) })
	if err != nil {
		return "", "", err
	}
	elsewhere, err = os.Readlink(here)
	if err != nil {
		return "", "", err
	}
	if !strings.HasPrefix(elsewhere, "/") || strings.HasSuffix(elsewhere, " (deleted)") {
		elsewhere = ""
	}
	return here, elsewhere, nil
}
