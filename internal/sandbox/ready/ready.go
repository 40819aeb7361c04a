// Package ready is what sandboxes have in common of asking a function whether
// it serves. How its port is reached, and how often it is tried, is theirs.
package ready

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Ask does one GET of path on conn and wants a status below 400. It returns
// early when ctx ends. conn stays the caller's, and is of no use afterwards.
func Ask(ctx context.Context, conn net.Conn, path string) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return err
	}
	req.Close = true
	if err := req.Write(conn); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return nil
}
