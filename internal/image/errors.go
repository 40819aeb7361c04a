package image

import (
	"errors"
	"io"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// wrapped puts words before an error and keeps its kind, and for how long to
// wait.
func wrapped(err error, words string) error {
	e := faas.Errorf(faas.KindOf(err), "%s: %w", words, err)
	e.RetryAfter = retryAfter(err)
	return e
}

func retryAfter(err error) time.Duration {
	var e *faas.Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// missing is content that the store has lost.
type missing string

func (m missing) open() (io.ReadCloser, error) {
	return nil, faas.Errorf(faas.KindBusy, "content %s went from the store while it was being used", string(m))
}
