package peers

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// portForward asks a sandbox to connect one end of a socket pair to a TCP port
// inside, and returns the other end. The protocol is gVisor's (pkg/urpc): one
// JSON object per call and answer on a unix stream socket, files as ancillary
// data; the method is that of runsc/boot/controller.go.
func portForward(ctx context.Context, socket, id string, port int) (net.Conn, error) {
	control, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	defer func() { _ = control.Close() }()
	defer context.AfterFunc(ctx, func() { _ = control.Close() })()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	ours := os.NewFile(uintptr(pair[0]), "function")
	defer func() { _ = ours.Close() }()
	err = call(control.(*net.UnixConn), id, port, pair[1])
	_ = unix.Close(pair[1])
	if err != nil {
		return nil, err
	}
	return net.FileConn(ours)
}

func call(control *net.UnixConn, id string, port, file int) error {
	request, err := json.Marshal(map[string]any{
		"method": "containerManager.PortForward",
		"arg":    map[string]any{"ContainerID": id, "Port": port},
	})
	if err != nil {
		return err
	}
	if _, _, err := control.WriteMsgUnix(request, unix.UnixRights(file), nil); err != nil {
		return err
	}
	var answer struct {
		Success bool   `json:"success"`
		Err     string `json:"err"`
	}
	if err := json.NewDecoder(control).Decode(&answer); err != nil {
		return err
	}
	if !answer.Success {
		return errors.New(answer.Err)
	}
	return nil
}

// ask sends one GET over conn and closes it. Anything but 200 is an error.
func ask(ctx context.Context, conn net.Conn, path string) error {
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: function\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("answered %s", resp.Status)
	}
	return err
}
