package gvisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// socketName is the sandbox's control socket in the instance's folder.
const socketName = "control.sock"

// A control talks to one sandbox's control server: gVisor's pkg/urpc, which is
// one JSON object per call and per answer on a stream socket. It is spoken here on Go's own network poller: gVisor's
// client would hold a thread for each call that waits.
type control struct{ dir string }

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

// listenControl makes the socket that the sandbox will listen on.
func listenControl(dir string) (int, error) {
	return bindSocket(dir, socketName, unix.SOCK_STREAM)
}

func (c control) connect(ctx context.Context) (*net.UnixConn, error) {
	folder, err := os.Open(c.dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = folder.Close() }()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", inFolder(folder, socketName))
	if err != nil {
		return nil, fmt.Errorf("connect to the sandbox's control socket: %w", err)
	}
	return conn.(*net.UnixConn), nil
}

// call calls method with arg and decodes the answer into result, which may be
// nil. Its error is a *remoteError if the sandbox
// answered with one. ctx bounds the call; the sandbox may go on with it.
func (c control) call(ctx context.Context, method string, arg, result any) error {
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return roundTrip(ctx, conn, request{method, arg}, result)
}

func roundTrip(ctx context.Context, conn *net.UnixConn, req request, result any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_, err = conn.Write(body)
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
