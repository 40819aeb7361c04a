package firecracker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/vmm/firecracker/api"
)

// Firecracker's vsock device is a unix socket for what the host dials, and one
// for each port of the host's that the guest may dial (Firecracker,
// docs/vsock.md).

// DialVsock connects to a port of the guest. Firecracker's socket is asked for
// it by a line, and answers with one; after that it is the connection.
func (m *machine) DialVsock(ctx context.Context, port uint32) (net.Conn, error) {
	conn, err := api.DialSocket(ctx, m.home.path(vsockName))
	if err != nil {
		return nil, fmt.Errorf("dial vsock port %d: %w", port, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err = askPort(conn, port)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("dial vsock port %d: %w", port, err)
	}
	return conn, nil
}

// errNoListener says that a guest has refused, or is not up.
var errNoListener = errors.New("nothing in the guest listens there")

func askPort(conn net.Conn, port uint32) error {
	if _, err := fmt.Fprintf(conn, "CONNECT %d\n", port); err != nil {
		return err
	}
	answer, err := readAnswer(conn)
	if errors.Is(err, io.EOF) {
		return errNoListener
	}
	if err == nil && !strings.HasPrefix(answer, "OK ") {
		err = fmt.Errorf("the answer is %q", answer)
	}
	return err
}

// maxPortAnswer bounds "OK PORT\n".
const maxPortAnswer = 32

// readAnswer reads one line, and not a byte more: what follows is the guest's.
func readAnswer(r io.Reader) (string, error) {
	var answer strings.Builder
	one := make([]byte, 1)
	for answer.Len() < maxPortAnswer {
		if _, err := io.ReadFull(r, one); err != nil {
			return "", err
		}
		if one[0] == '\n' {
			return answer.String(), nil
		}
		answer.WriteByte(one[0])
	}
	return "", fmt.Errorf("the answer is longer than %d bytes", maxPortAnswer)
}

// ListenVsock takes the guest's connections to a port of the host. The socket of a
// platform that was killed, behind which there is nobody, is replaced.
func (m *machine) ListenVsock(port uint32) (net.Listener, error) {
	var l net.Listener
	err := m.home.insert(fmt.Sprintf("%s_%d", vsockName, port), func(path string) (err error) {
		l, err = api.ListenSocket(path)
		return err
	})
	if err != nil {
		if l != nil {
			err = errors.Join(err, l.Close())
		}
		return nil, fmt.Errorf("listen at vsock port %d: %w", port, err)
	}
	return l, nil
}
