package gateway

import (
	"errors"
	"io"
	"os"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/http1"
)

// A body takes a message body out of a stream.
type body struct {
	kind  http1.BodyKind
	left  int64 // of a Sized body
	max   int64 // bytes allowed; 0 is unbounded
	moved int64 // bytes taken
	dec   http1.ChunkDecoder
	done  bool
	err   error // the first: where the body ends is not known any more
}

func (b *body) reset(kind http1.BodyKind, length, limit int64) {
	b.kind, b.left, b.max, b.moved, b.err = kind, length, limit, 0, nil
	b.done = kind == http1.NoBody
	b.dec.Reset()
}

// take returns data of the body that is in s's buffer and discards it there;
// the view is good until s is filled. It returns nothing when s must be
// filled first or the body is done. An error is returned again by every later
// call, and the body is never done.
func (b *body) take(s *stream) (data []byte, err error) {
	if b.err != nil {
		return nil, b.err
	}
	in := s.buffered()
	n := len(in)
	switch b.kind {
	case http1.Sized:
		n = int(min(int64(n), b.left))
		data = in[:n]
		b.left -= int64(n)
		b.done = b.left == 0
	case http1.Chunked:
		data, n, err = b.dec.Decode(in)
		b.done = b.dec.Done()
	case http1.UntilClose:
		data = in
	}
	s.discard(n)
	b.moved += int64(len(data))
	if err == nil && b.max > 0 && b.moved > b.max {
		err = errTooLarge(b.max)
	}
	if err != nil {
		b.err, b.done = err, false
	}
	return data, err
}

func errTooLarge(limit int64) error {
	return faas.Errorf(faas.KindTooLarge, "the request body is over the limit of %d bytes", limit)
}

// need is how much must yet come from s's connection, or bodyUnknown.
func (b *body) need(s *stream) int64 {
	switch {
	case b.done:
		return 0
	case b.kind == http1.Sized:
		return max(0, b.left-int64(s.w-s.r))
	default:
		return bodyUnknown
	}
}

// A copyError tells on which side copying a body failed.
type copyError struct {
	err     error
	writing bool
}

func (e *copyError) Error() string { return e.err.Error() }
func (e *copyError) Unwrap() error { return e.err }

// gather moves what s holds of the body to out without waiting for more.
func (b *body) gather(s *stream, out *sink) error {
	for !b.done {
		data, err := b.take(s)
		if err != nil {
			return &copyError{err, false}
		}
		if len(data) == 0 {
			break
		}
		if err := out.body(data); err != nil {
			return &copyError{err, true}
		}
	}
	if b.done && out.chunk {
		out.buf = http1.AppendLastChunk(out.buf, b.dec.Trailer())
	}
	return nil
}

// more waits for more of the body. The end of the connection is the end of an
// UntilClose body and a fault in any other.
func (b *body) more(s *stream) error {
	err := s.fill()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF) && b.kind == http1.UntilClose:
		b.done = true
		return nil
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return &copyError{err, false}
}

// timedOut reports whether err comes from a deadline that was set to wake its
// goroutine.
func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
