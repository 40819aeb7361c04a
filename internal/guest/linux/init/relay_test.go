package main

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

// host returns a connection whose other end is passed on to port, as one by
// vsock is: that takes a guest.
func host(t *testing.T, port int) *net.UnixConn {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		carry(pair[0], port)
		close(done)
	}()
	file := os.NewFile(uintptr(pair[1]), "host")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("it is still passed on after both ends have closed")
		}
	})
	return conn.(*net.UnixConn)
}

func listen(t *testing.T, address string, serve func(*net.TCPConn)) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("no %s here: %v", address, err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn.(*net.TCPConn))
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// TestRelay sends more than fits into any buffer, ends its half, and hears all
// of it again and then the end.
func TestRelay(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
		t.Run(address, func(t *testing.T) {
			conn := host(t, listen(t, address, func(c *net.TCPConn) {
				text, _ := io.ReadAll(c) // until the other half's end
				_, _ = c.Write(text)
			}))
			want := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
			go func() {
				_, _ = conn.Write(want)
				_ = conn.CloseWrite()
			}()
			got, err := io.ReadAll(conn)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes of %d came back, %v", len(got), len(want), err)
			}
		})
	}
}

func TestRelayToNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	if n, err := host(t, port).Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("got %d bytes, %v, want the end", n, err)
	}
}

// TestRelayBreaks: a function that resets its connection ends the host's, though
// the host still has something to say.
func TestRelayBreaks(t *testing.T) {
	conn := host(t, listen(t, "127.0.0.1:0", func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 1))
		_ = c.SetLinger(0)
	}))
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if n, err := conn.Read(make([]byte, 1)); n != 0 || os.IsTimeout(err) {
		t.Errorf("got %d bytes, %v", n, err)
	}
	for {
		if _, err := conn.Write([]byte("x")); err != nil {
			if os.IsTimeout(err) {
				t.Error("it can still be written to")
			}
			return
		}
		time.Sleep(time.Millisecond)
	}
}
