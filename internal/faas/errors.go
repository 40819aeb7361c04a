package faas

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Kind classifies an error for whoever must act on it. The gateway turns a
// kind into an HTTP status and the command line into an exit code, each in
// one place.
type Kind int

const (
	// KindInternal is a fault of the platform itself.
	KindInternal Kind = iota
	// KindInvalid: the input is wrong and stays wrong until it is changed.
	KindInvalid
	// KindNotFound: no such function, instance or file.
	KindNotFound
	// KindTooLarge: a head or a body is over its limit.
	KindTooLarge
	// KindBusy: a queue is full or the machine has no room; later may work.
	KindBusy
	// KindUnavailable: the sandbox can't run here, or the platform is stopping.
	KindUnavailable
	// KindBroken: the function broke the connection, crashed or could not start.
	KindBroken
	// KindTimeout: a start or a request took too long.
	KindTimeout
	// KindCanceled: whoever asked has gone away.
	KindCanceled
)

var kindNames = [...]string{
	"internal", "invalid", "not-found", "too-large", "busy", "unavailable", "broken", "timeout", "canceled",
}

func (k Kind) String() string { return kindNames[k] }

// An Error is an error with a kind. Its message names the thing and, where
// there is one, the remedy; it never holds a function's output.
type Error struct {
	Kind       Kind
	Message    string
	RetryAfter time.Duration // for KindBusy and KindUnavailable: when to try again; 0 is unknown
	Err        error
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an [Error] of kind k. As with fmt.Errorf, %w keeps the cause.
func Errorf(k Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: k, Message: err.Error(), Err: errors.Unwrap(err)}
}

// KindOf returns the kind of the first [Error] in err's chain. A context's
// end counts as KindCanceled or KindTimeout, anything else as KindInternal.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.Canceled):
		return KindCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return KindTimeout
	default:
		return KindInternal
	}
}
