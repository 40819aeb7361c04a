package pool

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

const (
	busyRetry   = time.Second // a queue moves in about this time
	reasonLimit = 200         // bytes of a start's failure that a response may hold
)

func withRetry(e *faas.Error, after time.Duration) *faas.Error {
	e.RetryAfter = after
	return e
}

func errStopping(ref faas.Ref) error {
	return faas.Errorf(faas.KindUnavailable, "function %q: the platform is stopping", ref)
}

func errQueueFull(ref faas.Ref, queue int) error {
	return withRetry(faas.Errorf(faas.KindBusy,
		"function %q: %d requests wait already; try again later, or raise queue or max-instances", ref, queue), busyRetry)
}

func errQueueTimeout(ref faas.Ref, waited time.Duration) error {
	return withRetry(faas.Errorf(faas.KindTimeout,
		"function %q: no instance was free within %v; the machine or max-instances is too small for its load", ref, waited), busyRetry)
}

func errNoMemory(ref faas.Ref, need, available, reserve int64) error {
	return withRetry(faas.Errorf(faas.KindBusy,
		"function %q: no room for an instance: it needs about %d MiB, %d MiB are available, of which %d MiB are kept in reserve",
		ref, need>>20, max(available, 0)>>20, reserve>>20), busyRetry)
}

// errLeft is for a request whose context ended while it waited.
func errLeft(ref faas.Ref, cause error) error {
	if errors.Is(cause, context.DeadlineExceeded) {
		return faas.Errorf(faas.KindTimeout, "function %q: timed out waiting for an instance: %w", ref, cause)
	}
	return faas.Errorf(faas.KindCanceled, "function %q: canceled while waiting for an instance: %w", ref, cause)
}

// errStart is what requests are told about a start that failed: its kind, a
// short reason and when the next try comes. The rest stays in the chain.
func errStart(ref faas.Ref, cause error, next time.Duration) error {
	next = max(next, time.Millisecond)
	return &faas.Error{
		Kind:       startKind(cause),
		Message:    faas.Errorf(0, "function %q can't start: %s; next try in %v", ref, reason(cause), next.Round(time.Millisecond)).Message,
		RetryAfter: next,
		Err:        &failedStart{cause},
	}
}

// startKind keeps the kind of a start's failure unless, to whoever sent the
// request, it would wrongly be about the request.
func startKind(cause error) faas.Kind {
	switch k := faas.KindOf(cause); k {
	case faas.KindInvalid, faas.KindNotFound, faas.KindTooLarge:
		return faas.KindBroken
	case faas.KindCanceled:
		return faas.KindUnavailable
	default:
		return k
	}
}

func reason(cause error) string {
	var e *faas.Error
	if !errors.As(cause, &e) {
		return "internal error, see the platform's log"
	}
	if len(e.Message) > reasonLimit {
		return e.Message[:reasonLimit] + "..."
	}
	return e.Message
}

// explain spells out the whole chain of err, which the message of a
// [faas.Error] leaves to its cause.
func explain(err error) string {
	text := err.Error()
	for cause := errors.Unwrap(err); cause != nil; cause = errors.Unwrap(cause) {
		if m := cause.Error(); !strings.Contains(text, m) {
			text += ": " + m
		}
	}
	return text
}
