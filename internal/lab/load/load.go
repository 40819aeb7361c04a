// Package load sends requests as the laboratory's experiments need them, times
// them, and says what went wrong. It knows nothing of experiments; of the
// platform it knows its problem documents.
package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/lab/record"
)

// A Request is a GET and what its answer must be.
type Request struct {
	URL string
	// Want is the body that is expected; nil leaves that to Size and Check.
	Want []byte
	// Size is how long the body must be, in bytes, where it is not 0. Such a
	// body is not kept.
	Size int64
	// Check looks at the body, after the time was taken; nil is allowed.
	Check func(body []byte) error
	// Timeout bounds the whole; it must not be 0.
	Timeout time.Duration
}

// A Result is what came of one request.
type Result struct {
	Began time.Time
	// Latency is from before the request was sent, or was due in an open loop,
	// until the last byte of its answer; connecting is part of it.
	Latency time.Duration
	Failure *record.Failure // nil when the answer is the expected one
}

// Once sends one request on a connection of its own.
func Once(ctx context.Context, r Request) Result {
	begin := time.Now()
	c, err := newClient(r, false)
	if err != nil {
		return Result{Began: begin, Failure: r.judge(0, nil, err)}
	}
	return c.send(ctx, begin)
}

// send sends the request; its latency counts from since.
func (c *client) send(ctx context.Context, since time.Time) Result {
	result := Result{Began: since}
	status, body, err := c.get(ctx)
	result.Latency = time.Since(since)
	result.Failure = c.request.judge(status, body, err)
	return result
}

// wrongBytes is an error about an answer's content.
type wrongBytes string

func (w wrongBytes) Error() string { return string(w) }

func (r Request) judge(status int, body []byte, err error) *record.Failure {
	if err == nil && status != http.StatusOK {
		return refused(status, body)
	}
	if err == nil && r.Want != nil && !bytes.Equal(body, r.Want) {
		err = wrongBytes(fmt.Sprintf("%.80q instead of %.80q", body, r.Want))
	}
	if err == nil && r.Check != nil {
		if bad := r.Check(body); bad != nil {
			err = wrongBytes(bad.Error())
		}
	}
	if err == nil {
		return nil
	}
	return &record.Failure{Class: classOf(err), Text: err.Error()}
}

func classOf(err error) record.Class {
	var wrong wrongBytes
	var netErr net.Error
	switch {
	case errors.As(err, &wrong):
		return record.WrongBytes
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return record.Timeout
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EPIPE),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return record.Reset
	}
	return record.Reset // whatever it was, there is no answer
}

// refused tells the platform's refusals (RFC 9457) from a function's answers.
// The platform's own words say whether an instance could not be started.
func refused(status int, body []byte) *record.Failure {
	var problem struct {
		Type   string `json:"type"`
		Detail string `json:"detail"`
	}
	f := &record.Failure{Class: record.WrongStatus, Text: fmt.Sprintf("status %d: %.200s", status, bytes.TrimSpace(body))}
	if json.Unmarshal(body, &problem) != nil || problem.Type == "" {
		return f
	}
	f.Text = fmt.Sprintf("status %d: %s", status, problem.Detail)
	switch problem.Type {
	case "urn:unifaas:problem:unavailable", "urn:unifaas:problem:busy":
		f.Class = record.FailedStart
	case "urn:unifaas:problem:timeout":
		f.Class = record.Timeout
	case "urn:unifaas:problem:broken":
		f.Class = record.Reset
		if bytes.Contains(body, []byte("can't start")) {
			f.Class = record.FailedStart
		}
	}
	return f
}

// Burst sends n requests at once, each on a connection of its own.
func Burst(ctx context.Context, r Request, n int) []Result {
	results := make([]Result, n)
	release := make(chan struct{})
	var ready, done sync.WaitGroup
	for i := range results {
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-release
			results[i] = Once(ctx, r)
		})
	}
	ready.Wait()
	close(release)
	done.Wait()
	return results
}

// Soak sends requests one after the other for a time, with pauses between
// them, on a kept connection.
func Soak(ctx context.Context, r Request, d time.Duration, pause func() time.Duration) []Result {
	var results []Result
	end := time.Now().Add(d)
	each(r, 1, func(_ int, c *client) {
		for time.Now().Before(end) && ctx.Err() == nil {
			results = append(results, c.send(ctx, time.Now()))
			select {
			case <-time.After(pause()):
			case <-ctx.Done():
			}
		}
	})
	return results
}

// each has a number of connections used at once, until all are done.
func each(r Request, connections int, use func(i int, c *client)) {
	var workers sync.WaitGroup
	for i := range connections {
		workers.Go(func() {
			c, err := newClient(r, true)
			if err != nil {
				return // of no request there is no result
			}
			defer c.close()
			use(i, c)
		})
	}
	workers.Wait()
}
