package gvisor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// tunnelName is the tunnel's socket in the instance's folder.
const tunnelName = "tunnel.sock"

// The tunnel is the way in. For a connection the platform sends one datagram
// to the sandbox: a port, whether to wait until something listens there, and
// one end of a socket pair. The sandbox connects to the port in its own
// network stack, says on the socket pair how that went, in one byte, and then
// copies both ways (see tunnelServer).
//
// gVisor's own port forwarding is not used: it drops what a short write leaves
// over, so that an upload under back-pressure arrives damaged; it takes a
// half-close for a close; and a connect that hangs holds a lock that stops all
// other calls.
type tunnel struct{ dir string }

// A tunnelRequest is one datagram: port, big endian, and flags.
type tunnelRequest struct {
	port uint16
	wait bool
}

const tunnelRequestSize = 3

func (r tunnelRequest) encode() []byte {
	b := binary.BigEndian.AppendUint16(nil, r.port)
	if r.wait {
		return append(b, 1)
	}
	return append(b, 0)
}

func decodeTunnelRequest(b []byte) (tunnelRequest, bool) {
	if len(b) != tunnelRequestSize || b[2] > 1 {
		return tunnelRequest{}, false
	}
	return tunnelRequest{binary.BigEndian.Uint16(b), b[2] == 1}, true
}

// What the sandbox answers.
const (
	tunnelConnected = 'c'
	tunnelRefused   = 'r'
)

var errRefused = errors.New("nothing listens there")

// listenTunnel makes the sandbox's end, with a name in dir.
func listenTunnel(dir string) (int, error) {
	return bindSocket(dir, tunnelName, unix.SOCK_DGRAM)
}

// bindSocket makes a socket with a name in dir. The folder is entered by a
// file descriptor: a socket's path has room for 108 bytes.
func bindSocket(dir, name string, kind int) (int, error) {
	folder, err := os.Open(dir)
	if err != nil {
		return -1, err
	}
	defer func() { _ = folder.Close() }()
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: inFolder(folder, name)}); err != nil {
		return -1, errors.Join(fmt.Errorf("bind %q: %w", name, err), unix.Close(fd))
	}
	return fd, nil
}

func inFolder(folder *os.File, name string) string {
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(folder.Fd())), name)
}

// dial opens a connection to a port inside, or waits until one can be opened.
func (t tunnel) dial(ctx context.Context, req tunnelRequest) (net.Conn, error) {
	socket, err := t.open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = socket.Close() }()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	ours := os.NewFile(uintptr(pair[0]), "tunnel")
	conn, err := net.FileConn(ours)
	_ = ours.Close()
	if err == nil {
		err = send(ctx, socket, req.encode(), pair[1])
	}
	_ = unix.Close(pair[1])
	if err == nil {
		err = awaitConnected(ctx, conn)
	}
	if err != nil {
		if conn != nil {
			_ = conn.Close()
		}
		return nil, err
	}
	return conn, nil
}

// send sends one datagram with a file. Go's own method refuses to on a
// connected socket.
func send(ctx context.Context, socket *net.UnixConn, b []byte, file int) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = socket.SetWriteDeadline(time.Unix(1, 0)) })
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = unix.Sendmsg(int(fd), b, unix.UnixRights(file), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		return !errors.Is(sent, unix.EAGAIN)
	})
	defer stop()
	if err = errors.Join(err, sent); err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return err
}

func awaitConnected(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	var answer [1]byte
	_, err := conn.Read(answer[:])
	switch {
	case !stop():
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("the sandbox closed the tunnel: %w", err)
	case answer[0] != tunnelConnected:
		return errRefused
	}
	return nil
}

// open makes a socket on which to send a request. It is not kept: a deadline
// would be that of all who share it.
func (t tunnel) open() (*net.UnixConn, error) {
	folder, err := os.Open(t.dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = folder.Close() }()
	return net.DialUnix("unixgram", nil, &net.UnixAddr{Name: inFolder(folder, tunnelName), Net: "unixgram"})
}
