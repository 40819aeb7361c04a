package pool

import "time"

const (
	backoffFirst = 100 * time.Millisecond
	backoffLimit = 30 * time.Second
)

// A backoff spaces out the starts of a revision that keeps failing.
type backoff struct {
	failures int       // in a row
	failed   time.Time // when the last one did
	until    time.Time // no start before; zero: none failed since one succeeded
	err      error     // the last failure
}

func (b *backoff) fail(now time.Time, err error) {
	b.failures++
	b.failed = now
	b.until, b.err = now.Add(delay(b.failures, backoffFirst)), err
}

// started allows starts again. The failures are forgotten only once an
// instance has proved itself, so that one which starts well and dies at once
// is not started in a tight loop.
func (b *backoff) started() { b.until, b.err = time.Time{}, nil }

func (b *backoff) reset() { *b = backoff{} }

func (b *backoff) active(now time.Time) bool { return now.Before(b.until) }

// delay doubles from first with each failure after the first one, up to
// backoffLimit.
func delay(failures int, first time.Duration) time.Duration {
	d := first
	for range failures - 1 {
		if d *= 2; d >= backoffLimit {
			return backoffLimit
		}
	}
	return d
}
