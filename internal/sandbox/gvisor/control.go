package gvisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// socketName is the sandbox's control socket in the instance's folder.
const socketName = "control.sock"

// A control talks to one sandbox's control server: gVisor's pkg/urpc, which is
// one JSON object per call and per answer on a stream socket, files beside the
// call's first byte. It is spoken here on Go's own network poller: gVisor's
// client would hold a thread for each call that waits.
type control struct {
	dir string

	mu   sync.Mutex
	idle *net.UnixConn // kept from the last call, because most are dials
}

type request struct {
	Method string `json:"method"`
	Arg    any    `json:"arg"`
}

type response struct {
	Success bool            `json:"success"`
	Err     string          `json:"err"`
	Result  json.RawMessage `json:"result"`
}

// A remoteError is what the sandbox answered, as opposed to not answering.
type remoteError struct{ message string }

func (e *remoteError) Error() string { return e.message }

// listenControl binds the socket that the sandbox will listen on. The folder
// is entered by a file descriptor: a socket's path has room for 108 bytes.
func listenControl(dir string) (int, error) {
	folder, err := os.Open(dir)
	if err != nil {
		return -1, err
	}
	defer func() { _ = folder.Close() }()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: socketAt(folder)}); err != nil {
		return -1, errors.Join(fmt.Errorf("bind control socket: %w", err), unix.Close(fd))
	}
	return fd, nil
}

func socketAt(folder *os.File) string {
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(folder.Fd())), socketName)
}

func (c *control) connect(ctx context.Context) (*net.UnixConn, error) {
	folder, err := os.Open(c.dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = folder.Close() }()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socketAt(folder))
	if err != nil {
		return nil, fmt.Errorf("connect to the sandbox's control socket: %w", err)
	}
	return conn.(*net.UnixConn), nil
}

// call calls method with arg, hands over files, and decodes the answer into
// result, which may be nil. Its error is a *remoteError if the sandbox
// answered with one. ctx bounds the call; the sandbox may go on with it.
func (c *control) call(ctx context.Context, method string, arg, result any, files ...int) error {
	conn, kept, err := c.take(ctx)
	if err != nil {
		return err
	}
	err = roundTrip(ctx, conn, request{method, arg}, result, files)
	if kept && err != nil && ctx.Err() == nil && !isRemote(err) {
		// The sandbox may have closed the kept connection; a call is sent
		// again only on a fresh one, and only once.
		_ = conn.Close()
		if conn, err = c.connect(ctx); err != nil {
			return err
		}
		err = roundTrip(ctx, conn, request{method, arg}, result, files)
	}
	if err == nil || isRemote(err) {
		c.give(conn)
	} else {
		_ = conn.Close()
	}
	return err
}

func isRemote(err error) bool {
	var remote *remoteError
	return errors.As(err, &remote)
}

func (c *control) take(ctx context.Context) (conn *net.UnixConn, kept bool, err error) {
	c.mu.Lock()
	conn, c.idle = c.idle, nil
	c.mu.Unlock()
	if conn != nil {
		return conn, true, nil
	}
	conn, err = c.connect(ctx)
	return conn, false, err
}

func (c *control) give(conn *net.UnixConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle == nil {
		c.idle = conn
		return
	}
	_ = conn.Close()
}

func (c *control) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle != nil {
		_ = c.idle.Close()
		c.idle = nil
	}
}

func roundTrip(ctx context.Context, conn *net.UnixConn, req request, result any, files []int) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	var rights []byte
	if len(files) > 0 {
		rights = unix.UnixRights(files...)
	}
	n, _, err := conn.WriteMsgUnix(body, rights, nil)
	if err == nil && n < len(body) {
		_, err = conn.Write(body[n:])
	}
	var answer response
	if err == nil {
		err = json.NewDecoder(conn).Decode(&answer)
	}
	if err != nil {
		return fmt.Errorf("call %s: %w", req.Method, errors.Join(ctx.Err(), err))
	}
	if !answer.Success {
		return &remoteError{answer.Err}
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer.Result, result)
}
