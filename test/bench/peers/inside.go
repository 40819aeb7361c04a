package peers

import (
	"bytes"
	"context"
	"errors"
	"os"
	"time"

	"github.com/unifaas/unifaas/internal/host/netns"
)

// firstPoll is the pause between two knocks at the beginning of a start. It
// grows with what the start has taken, up to pollEvery.
const firstPoll = 200 * time.Microsecond

var errEnded = errors.New("it ended before it answered")

// awaitInside asks for path at a port of a network namespace until the answer
// is 200. It gives up when ended is closed. A socket that was refused knocks
// again: to make one takes longer than to knock.
func awaitInside(ctx context.Context, ns *netns.Handle, port int, path string, ended <-chan struct{}) error {
	begin := time.Now()
	var socket *os.File
	defer func() { _ = socket.Close() }()
	var err error
	for {
		if socket == nil {
			if socket, err = ns.Socket(); err != nil {
				return err
			}
		}
		conn, knocked := netns.Connect(ctx, socket, uint16(port))
		if err = knocked; err == nil {
			if err = ask(ctx, conn, path); err == nil {
				return nil
			}
			_ = socket.Close()
			socket = nil
		}
		select {
		case <-ended:
			return errors.Join(errEnded, err)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(min(max(firstPoll, time.Since(begin)/20), pollEvery)):
		}
	}
}

// lastWords returns what a program said, as far as it fits an error.
func lastWords(path string) []byte {
	text, _ := os.ReadFile(path)
	return bytes.TrimSpace(text[max(0, len(text)-1<<10):])
}
