package gateway

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newPair returns a sock in a running loop and its peer.
func newPair(t *testing.T) (*sock, *os.File) {
	t.Helper()
	g := &Gateway{metrics: &metrics{}}
	if err := g.makeLoops(1); err != nil {
		t.Fatal(err)
	}
	l := g.loops[0]
	g.looping.Go(l.run)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, peer := newSock(l, fds[0]), os.NewFile(uintptr(fds[1]), "peer")
	if err := l.add(s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.Close()
		_ = peer.Close()
		l.stop()
		g.looping.Wait()
		g.closeLoops()
	})
	return s, peer
}

// TestSockBackPressure writes more than fits, in parts, while the peer is slow.
func TestSockBackPressure(t *testing.T) {
	s, peer := newPair(t)
	data := bytes.Repeat([]byte("0123456789abcde\n"), 1<<18) // 4 MiB
	wrote := make(chan error, 1)
	go func() {
		parts := net.Buffers{data[:100], nil, data[100:], nil}
		n, err := s.writeVec(&parts)
		if err == nil && (n != int64(len(data)) || len(parts) != 0) {
			err = io.ErrShortWrite
		}
		if err == nil {
			_, err = s.Write(data)
		}
		_ = s.CloseWrite()
		wrote <- err
	}()
	time.Sleep(10 * time.Millisecond) // until it is full
	got, err := io.ReadAll(peer)
	if err != nil || !bytes.Equal(got, append(append([]byte(nil), data...), data...)) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

func TestSockDeadlines(t *testing.T) {
	s, peer := newPair(t)
	read := func() error {
		_, err := s.Read(make([]byte, 8))
		return err
	}
	start := time.Now()
	_ = s.SetReadDeadline(start.Add(50 * time.Millisecond))
	if err := read(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) < 50*time.Millisecond {
		t.Errorf("got %v after %v", err, time.Since(start))
	}
	if _, err := s.Write([]byte("x")); err != nil {
		t.Errorf("the reading side's deadline ends a write: %v", err)
	}
	_ = s.SetDeadline(past)
	if _, err := s.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	_ = s.SetDeadline(time.Now().Add(20 * time.Millisecond))
	_ = s.SetDeadline(time.Time{}) // which the first must not outlive
	done := make(chan error)
	go func() { done <- read() }()
	time.Sleep(50 * time.Millisecond)
	if _, err := peer.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	go func() { done <- read() }()
	time.Sleep(5 * time.Millisecond) // mostly, it waits by then
	_ = s.SetReadDeadline(past)
	if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestSockClose(t *testing.T) {
	s, _ := newPair(t)
	done := make(chan error)
	go func() {
		_, err := s.Read(make([]byte, 8))
		done <- err
	}()
	time.Sleep(5 * time.Millisecond) // mostly, it waits by then
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	for name, err := range map[string]error{
		"close":       s.Close(),
		"close write": s.CloseWrite(),
	} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s again: got %v", name, err)
		}
	}
}

// TestSockEndWithData: the end that comes with the last data makes no event of
// its own.
func TestSockEndWithData(t *testing.T) {
	s, peer := newPair(t)
	if _, err := peer.WriteString("last"); err != nil {
		t.Fatal(err)
	}
	_ = peer.Close()
	if got, err := io.ReadAll(s); err != nil || string(got) != "last" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestEventOfAClosedSock: an event that was under way when its sock was closed
// does not reach the next one with the same descriptor.
func TestEventOfAClosedSock(t *testing.T) {
	g := &Gateway{}
	l, err := newLoop(g)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.Close(fds[0]), unix.Close(fds[1]) }()
	s := newSock(l, fds[0])
	if err := l.add(s); err != nil {
		t.Fatal(err)
	}
	l.events[0] = unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(s.fd), Pad: s.serial - 1}
	l.events[1] = unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(s.fd), Pad: s.serial}
	if !l.resolve(2) || l.due[0] != nil || l.due[1] != s {
		t.Errorf("events went to %v and %v", l.due[0], l.due[1])
	}
}
