package gvisor

import (
	"bytes"
	"errors"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/fdnotifier"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"
)

// joinBuffer is how much is copied at once into a sandbox, in bytes.
const joinBuffer = 32 << 10

var joinBuffers = sync.Pool{New: func() any { return new([joinBuffer]byte) }}

// A hostEnd is the sandbox's end of a tunnel's socket pair. It waits without a
// thread, on the notifier that the sandbox kernel has for host files.
type hostEnd struct {
	fd    int
	queue waiter.Queue
}

// An insideEnd is a connection in the sandbox's own network stack.
type insideEnd struct {
	ep    tcpip.Endpoint
	queue waiter.Queue
}

func newHostEnd(fd int) *hostEnd {
	h := &hostEnd{fd: fd}
	// It fails for files that can't be polled only; a socket can.
	_ = fdnotifier.AddFD(int32(fd), &h.queue)
	return h
}

func (h *hostEnd) close() {
	fdnotifier.RemoveFD(int32(h.fd))
	_ = unix.Close(h.fd)
}

// wait blocks until one of events has come up or stop is closed, and tells
// which of the two.
func (h *hostEnd) wait(events waiter.EventMask, stop <-chan struct{}) bool {
	entry, ready := waiter.NewChannelEntry(events | waiter.EventErr | waiter.EventHUp)
	h.queue.EventRegister(&entry)
	_ = fdnotifier.UpdateFD(int32(h.fd))
	defer func() {
		h.queue.EventUnregister(&entry)
		_ = fdnotifier.UpdateFD(int32(h.fd))
	}()
	// Looked at before waiting, since it may have come up before the
	// registration, and after, since a notification may be a stale one: for
	// the connection that had the descriptor's number before this one.
	for fdnotifier.NonBlockingPoll(int32(h.fd), events|waiter.EventErr|waiter.EventHUp) == 0 {
		select {
		case <-ready:
		case <-stop:
			return false
		}
	}
	return true
}

// hangup calls f if the platform gives the connection up before stop is closed.
func (h *hostEnd) hangup(stop <-chan struct{}, f func()) {
	if h.wait(0, stop) {
		f()
	}
}

// A hostWriter writes to the platform as much as it takes at once; it is what
// the network stack reads into.
type hostWriter struct {
	fd  int
	err error // of the last write
}

func (w *hostWriter) Write(b []byte) (int, error) {
	var n int
	for {
		n, w.err = unix.Write(w.fd, b)
		if !errors.Is(w.err, unix.EINTR) {
			break
		}
	}
	n = max(n, 0)
	if w.err == nil && n < len(b) {
		w.err = unix.EAGAIN
	}
	return n, w.err
}

// join copies both ways until both have ended, each with its own half-close,
// or one has failed, which ends both.
func join(host *hostEnd, inside *insideEnd) {
	failed := make(chan struct{})
	var once sync.Once
	fail := func() {
		once.Do(func() {
			close(failed)
			inside.ep.Abort()
		})
	}
	outDone := make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() {
		if !copyIn(host, inside, failed) {
			fail()
		}
	})
	both.Go(func() {
		defer close(outDone)
		if !copyOut(host, inside, failed) {
			fail()
		}
	})
	// Once the platform's end is gone nobody wants the rest of the answer.
	both.Go(func() { host.hangup(outDone, fail) })
	both.Wait()
}

// copyIn copies from the platform to the function. It returns false if the
// connection is broken.
func copyIn(host *hostEnd, inside *insideEnd, failed <-chan struct{}) bool {
	for host.wait(waiter.ReadableEvents, failed) {
		buf := joinBuffers.Get().(*[joinBuffer]byte)
		n, err := unix.Read(host.fd, buf[:])
		ok := err == nil && n > 0 && inside.write(buf[:n], failed)
		joinBuffers.Put(buf)
		switch {
		case ok, errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		case err == nil && n == 0:
			return inside.ep.Shutdown(tcpip.ShutdownWrite) == nil
		default:
			return false
		}
	}
	return false
}

// write writes all of b: an endpoint takes what it has room for.
func (e *insideEnd) write(b []byte, failed <-chan struct{}) bool {
	rest := bytes.NewReader(b)
	for rest.Len() > 0 {
		_, err := e.ep.Write(rest, tcpip.WriteOptions{Atomic: true})
		if err == nil {
			continue
		}
		if _, full := err.(*tcpip.ErrWouldBlock); !full || !e.wait(waiter.WritableEvents, failed) {
			return false
		}
	}
	return true
}

// wait blocks until one of events has come up or stop is closed.
func (e *insideEnd) wait(events waiter.EventMask, stop <-chan struct{}) bool {
	events |= waiter.EventErr | waiter.EventHUp
	entry, ready := waiter.NewChannelEntry(events)
	e.queue.EventRegister(&entry)
	defer e.queue.EventUnregister(&entry)
	if e.ep.Readiness(events) != 0 {
		return true
	}
	select {
	case <-ready:
		return true
	case <-stop:
		return false
	}
}

// copyOut copies from the function to the platform, straight from the network
// stack's buffers. It returns false if the connection is broken.
func copyOut(host *hostEnd, inside *insideEnd, failed <-chan struct{}) bool {
	out := &hostWriter{fd: host.fd}
	for {
		out.err = nil
		_, err := inside.ep.Read(out, tcpip.ReadOptions{})
		switch {
		case errors.Is(out.err, unix.EAGAIN):
			if !host.wait(waiter.WritableEvents, failed) {
				return false
			}
			continue
		case out.err != nil:
			return false
		case err == nil:
			continue
		}
		switch err.(type) {
		case *tcpip.ErrWouldBlock:
			if !inside.wait(waiter.ReadableEvents, failed) {
				return false
			}
		case *tcpip.ErrClosedForReceive:
			return unix.Shutdown(host.fd, unix.SHUT_WR) == nil
		default:
			return false
		}
	}
}
