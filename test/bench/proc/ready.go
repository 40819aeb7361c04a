package proc

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// AwaitHTTP polls url until it answers 200. It gives up when ctx ends or p
// has ended; the error then says what p said.
func AwaitHTTP(ctx context.Context, p *Process, url string) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	var last string
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			last = resp.Status
		} else {
			last = err.Error()
		}
		select {
		case <-p.Done():
			return p.Failure("ended before it served " + url)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), p.Failure("did not serve "+url+" in time: "+last))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// FreePort returns a TCP port of 127.0.0.1 that nobody listened on a moment
// ago.
func FreePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := ln.Addr().(*net.TCPAddr).Port
	return port, ln.Close()
}

// Local returns the address of port on 127.0.0.1.
func Local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
