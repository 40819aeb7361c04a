package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// A steady transport repeats requests that may succeed later, waits as the
// registry asks, and ends those that stall. It stands below authentication,
// so that tokens are fetched as steadily as layers.
type steady struct {
	opts Options
	next http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (s *steady) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !isLoopback(req.URL.Hostname()) {
		return nil, faas.Errorf(faas.KindInvalid, "registry %q does not speak TLS; only one on this machine may do without", req.URL.Host)
	}
	for attempt := 1; ; attempt++ {
		resp, err := s.once(req)
		wait, again := s.again(req, resp, err, attempt)
		if !again {
			return resp, err
		}
		if attempt >= s.opts.Attempts || wait > s.opts.MaxWait {
			return nil, s.giveUp(req, resp, err, wait)
		}
		if resp != nil {
			resp.Body.Close()
		}
		if err := sleep(req.Context(), wait); err != nil {
			return nil, err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// once makes one attempt. The body of what it returns fails when it stalls.
func (s *steady) once(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	stalled := faas.Errorf(faas.KindTimeout, "registry %q has sent nothing for %v", req.URL.Host, s.opts.Stall)
	timer := time.AfterFunc(s.opts.Stall, func() { cancel(stalled) })
	body := &watched{ctx: ctx, timer: timer, patience: s.opts.Stall, cancel: cancel}
	attempt := req.Clone(ctx)
	if req.GetBody != nil {
		var err error
		if attempt.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
	resp, err := s.next.RoundTrip(attempt)
	timer.Stop()
	if err != nil {
		err = body.explain(err)
		cancel(nil)
		return nil, err
	}
	body.body = resp.Body
	resp.Body = body
	return resp, nil
}

// again reports whether another attempt makes sense, and after which time.
func (s *steady) again(req *http.Request, resp *http.Response, err error, attempt int) (time.Duration, bool) {
	wait := s.opts.Backoff << (attempt - 1)
	wait = min(wait/2+rand.N(wait), s.opts.MaxWait)
	switch {
	case req.Context().Err() != nil, req.Body != nil && req.GetBody == nil:
		return 0, false
	case err != nil:
		return wait, !permanent(err)
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if asked, ok := retryAfter(resp.Header.Get("Retry-After"), time.Now()); ok {
			wait = asked
		}
		return wait, true
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		return wait, true
	}
	return 0, false
}

// permanent reports whether an error will be the same at the next attempt.
func permanent(err error) bool {
	var certificate *tls.CertificateVerificationError
	return errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &certificate)
}

// giveUp says why a request has failed for good.
func (s *steady) giveUp(req *http.Request, resp *http.Response, err error, wait time.Duration) error {
	if err != nil {
		return err
	}
	status := resp.Status
	resp.Body.Close()
	if resp.StatusCode != http.StatusTooManyRequests {
		return faas.Errorf(faas.KindBusy, "registry %q answers %s", req.URL.Host, status)
	}
	busy := faas.Errorf(faas.KindBusy, "registry %q answers %s; wait, or sign in for a higher limit", req.URL.Host, status)
	busy.RetryAfter = wait
	return busy
}

// retryAfter reads the field of RFC 9110, section 10.2.3.
func retryAfter(s string, now time.Time) (time.Duration, bool) {
	if seconds, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(at.Sub(now), 0), true
	}
	return 0, false
}

// isLoopback reports whether a host is this machine, where Docker allows a
// registry without TLS, too.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// A watched body gives up when nothing comes for too long. Its time runs only
// while somebody reads.
type watched struct {
	ctx      context.Context // of its request, as in http.Request
	cancel   context.CancelCauseFunc
	timer    *time.Timer
	patience time.Duration
	body     io.ReadCloser
}

// Read implements [io.Reader].
func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.patience)
	n, err := w.body.Read(p)
	w.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
		err = w.explain(err)
	}
	return n, err
}

// Close implements [io.Closer].
func (w *watched) Close() error {
	w.timer.Stop()
	err := w.body.Close()
	w.cancel(nil)
	return err
}

// explain tells a stall from other ends.
func (w *watched) explain(err error) error {
	if cause := context.Cause(w.ctx); cause != nil {
		return cause
	}
	return err
}
