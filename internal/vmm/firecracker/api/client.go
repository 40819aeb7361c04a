package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// A Client speaks to one Firecracker. Its methods may be called concurrently;
// requests are made one at a time, as Firecracker handles them. It dials when
// it needs to.
type Client struct {
	socket string

	mu   sync.Mutex
	conn net.Conn
	in   *bufio.Reader
}

// New returns a client of the API socket at a path of any length.
func New(socket string) *Client { return &Client{socket: socket} }

// Close ends the connection. The next request makes another.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hangUp()
}

func (c *Client) hangUp() error {
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.conn, c.in = nil, nil
	return err
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// do makes one request. body may be nil, and so may into, which is where the
// answer's body goes.
func (c *Client) do(ctx context.Context, method, path string, body, into any) error {
	what := method + " " + path
	c.mu.Lock()
	defer c.mu.Unlock()
	// A connection that was quiet may have ended; one that is fresh has not.
	if err := c.dial(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	conn := c.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(past) })
	status, answer, err := c.exchange(method, path, body)
	if !stop() {
		// The deadline may be set at any moment from now on, and must not meet
		// another request.
		_ = c.hangUp()
	}
	if err != nil {
		_ = c.hangUp()
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	if status != http.StatusOK && status != http.StatusNoContent {
		return refusal(what, status, answer)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s: read the answer: %w", what, err)
	}
	return nil
}

func (c *Client) dial(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	conn, err := DialSocket(ctx, c.socket)
	if err != nil {
		return err
	}
	c.conn, c.in = conn, bufio.NewReaderSize(conn, maxLine)
	return nil
}

// exchange writes a request and reads its answer.
func (c *Client) exchange(method, path string, body any) (status int, answer []byte, err error) {
	text := []byte{}
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return 0, nil, err
		}
	}
	var request bytes.Buffer
	fmt.Fprintf(&request, "%s %s HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n", method, path)
	if body != nil {
		fmt.Fprintf(&request, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(text))
	}
	request.WriteString("\r\n")
	request.Write(text)
	if _, err := c.conn.Write(request.Bytes()); err != nil {
		return 0, nil, err
	}
	status, answer, err = readAnswer(c.in)
	if err == nil && c.in.Buffered() > 0 {
		err = errors.New("the answer is longer than it says")
	}
	return status, answer, err
}
