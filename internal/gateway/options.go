package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

// A Catalog knows the functions. It may be called concurrently.
type Catalog interface {
	// Lookup returns the revision of the function name that serves now, or an
	// error of kind faas.KindNotFound.
	Lookup(name string) (*faas.Revision, error)
}

// A Pool hands out instances. It may be called concurrently.
type Pool interface {
	// TryAcquire returns a lease on a warm instance with room, without blocking.
	TryAcquire(rev *faas.Revision) (Lease, bool)
	// Acquire waits for an instance until ctx ends. Its errors carry a kind.
	Acquire(ctx context.Context, rev *faas.Revision) (Lease, error)
}

// A Lease is the right to send one request to an instance.
type Lease interface {
	Instance() sandbox.Instance
	// Dial opens a connection to the function; ctx bounds the dial only.
	Dial(ctx context.Context) (net.Conn, error)
	// Attachment returns the value set on the lease's instance, nil when none.
	Attachment() io.Closer
	// SetAttachment sets the instance's value if it has none and returns the
	// one in place. It is closed when the instance goes.
	SetAttachment(c io.Closer) io.Closer
	// Release gives the lease back, exactly once. healthy is false when the
	// instance broke the request.
	Release(healthy bool)
}

// Options configure a [Gateway]. Zero values mean the defaults named.
type Options struct {
	Catalog    Catalog               // required
	Pool       Pool                  // required
	Registerer prometheus.Registerer // required
	Logger     *slog.Logger          // default: discards
	AccessLog  *slog.Logger          // told every exchange at level debug; nil is none

	Listen   string       // TCP address, default 127.0.0.1:8123; port 0 picks one
	Listener net.Listener // used instead of Listen when not nil

	MaxHead   int   // bytes of a head, either way; default 32 KiB, at least 1 KiB
	MaxFields int   // field lines of a head, either way; default 100
	MaxTarget int   // bytes of a request target; default 8 KiB
	MaxBody   int64 // bytes of a request body; default 0: unbounded
	MaxConns  int   // client connections; default 16384; more wait to be accepted

	HeadTimeout   time.Duration // for a whole request head; default 10 s
	KeepAlive     time.Duration // an idle client connection is closed after it; default 75 s
	ClientTimeout time.Duration // a client neither sends nor takes a byte that it should; default 60 s
	DialTimeout   time.Duration // for a connection to an instance; default 5 s
	// UpstreamIdle bounds how long a connection to an instance is kept without
	// a request. It should be below what servers keep one for, of which the
	// shortest in common use is 5 s; default 4 s.
	UpstreamIdle time.Duration

	Tries int // how often a request is sent at most, to different instances; default 3
	// TrustForwarded keeps the client's X-Forwarded-* and Forwarded fields and
	// appends to them: right only behind a proxy that sets them. By default
	// they are replaced.
	TrustForwarded bool

	loops int // default: standardLoops
}

func (o *Options) complete() error {
	if o.Catalog == nil || o.Pool == nil || o.Registerer == nil {
		return errors.New("gateway options: Catalog, Pool and Registerer are required")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:8123"
	}
	fallback(&o.MaxHead, 32<<10)
	o.MaxHead = max(o.MaxHead, 1<<10)
	fallback(&o.MaxFields, 100)
	fallback(&o.MaxTarget, 8<<10)
	fallback(&o.MaxConns, 16384)
	fallback(&o.HeadTimeout, 10*time.Second)
	fallback(&o.KeepAlive, 75*time.Second)
	fallback(&o.ClientTimeout, time.Minute)
	fallback(&o.DialTimeout, 5*time.Second)
	fallback(&o.UpstreamIdle, 4*time.Second)
	fallback(&o.Tries, 3)
	fallback(&o.loops, standardLoops())
	return nil
}

func fallback[T int | time.Duration](value *T, standard T) {
	if *value <= 0 {
		*value = standard
	}
}
