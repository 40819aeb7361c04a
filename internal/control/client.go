package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/logs"
)

// A Client talks to the platform whose run folder it was made with.
type Client struct {
	runDir string
	http   *http.Client
}

// NewClient returns a client of the platform that uses runDir. It connects
// at each call.
func NewClient(runDir string) *Client {
	c := &Client{runDir: runDir}
	c.http = &http.Client{Transport: &http.Transport{DialContext: c.dial, DisableKeepAlives: true}}
	return c
}

func (c *Client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	// O_PATH: members of control-group may pass the folder, not read it.
	dir, err := unix.Open(c.runDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: c.runDir, Err: err}
	}
	defer func() { _ = unix.Close(dir) }()
	var d net.Dialer
	return d.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir, SocketName))
}

// Status returns the platform's status.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.get(ctx, "/v1/status", &s)
}

// Functions lists the functions.
func (c *Client) Functions(ctx context.Context) (f []Function, err error) {
	return f, c.get(ctx, "/v1/functions", &f)
}

// Instances lists the instances.
func (c *Client) Instances(ctx context.Context) (i []Instance, err error) {
	return i, c.get(ctx, "/v1/instances", &i)
}

// Describe returns everything that is known of a function.
func (c *Client) Describe(ctx context.Context, name string) (d *Detail, err error) {
	return d, c.get(ctx, "/v1/functions/"+url.PathEscape(name), &d)
}

// Logs calls emit for each line that q selects. With q.Follow it returns
// when ctx is done, the platform stops, or emit fails.
func (c *Client) Logs(ctx context.Context, q LogQuery, emit func(logs.Entry) error) error {
	query := url.Values{"tail": {strconv.Itoa(q.Tail)}, "instance": {q.Instance}}
	if q.Follow {
		query.Set("follow", "1")
	}
	resp, err := c.do(ctx, "/v1/functions/"+url.PathEscape(q.Function)+"/logs?"+query.Encode())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e logs.Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("decode log line: %w", err)
		}
		if err := emit(e); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return lines.Err()
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	resp, err := c.do(ctx, path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("decode answer of the platform: %w", err)
	}
	return nil
}

func (c *Client) do(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://unifaas"+path, nil)
	if err != nil {
		return nil, err
	}
	return c.send(req)
}

// send returns the platform's answer, or the error that it is.
func (c *Client) send(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var e wireError
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
		return nil, fmt.Errorf("the platform answered %s", resp.Status)
	}
	return nil, e.error()
}

// explain turns the usual reasons for no connection into a remedy.
func (c *Client) explain(err error) error {
	path := filepath.Join(c.runDir, SocketName)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return faas.Errorf(faas.KindUnavailable, "no platform runs with run folder %q; start it with `unifaas up`, or name its --run-dir", c.runDir)
	case errors.Is(err, fs.ErrPermission):
		return faas.Errorf(faas.KindUnavailable, "you may not open %q; ask its owner, or see control-group", path)
	default:
		return err
	}
}
