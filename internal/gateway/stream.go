package gateway

import (
	"errors"
	"io"
	"net"
	"sync/atomic"

	"github.com/unifaas/unifaas/internal/http1"
)

// A stream reads a connection through a buffer.
type stream struct {
	conn link
	buf  []byte
	r, w int // buf[r:w] is read and not yet used
	// clock, last and stall note progress; stall only where it is the client
	// that is read.
	clock *atomic.Int64
	last  *atomic.Int64
	stall *atomic.Int64
}

func (s *stream) buffered() []byte { return s.buf[s.r:s.w] }

func (s *stream) discard(n int) {
	if s.r += n; s.r == s.w {
		s.r, s.w = 0, 0
	}
}

// errBufferFull is returned by fill when nothing more fits.
var errBufferFull = errors.New("buffer is full")

// fill reads once. Data that is not used yet moves to the buffer's beginning
// when there is no room behind it.
func (s *stream) fill() error {
	if s.w == len(s.buf) {
		if s.r == 0 {
			return errBufferFull
		}
		s.w = copy(s.buf, s.buf[s.r:s.w])
		s.r = 0
	}
	if s.stall != nil {
		s.stall.Store(s.clock.Load())
	}
	n, err := s.conn.Read(s.buf[s.w:])
	if s.stall != nil {
		s.stall.Store(0)
	}
	if n > 0 {
		s.w += n
		s.last.Store(s.clock.Load())
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// A sink writes a message to a connection: what is small is gathered and
// written at once with what follows.
type sink struct {
	conn  link
	buf   []byte // not yet written
	chunk bool   // encode the body as chunks
	any   bool   // something was written
	wrote int64  // bytes

	clock *atomic.Int64
	last  *atomic.Int64
	stall *atomic.Int64

	parts [3][]byte
	vec   net.Buffers
}

// gatherMax is the size up to which copying data is cheaper than another
// element of a vectored write.
const gatherMax = 4 << 10

// body adds data of the body. Large data is written through, so it does not
// have to outlive the call.
func (s *sink) body(data []byte) error {
	if s.chunk {
		s.buf = http1.AppendChunkSize(s.buf, len(data))
	}
	if len(data) <= gatherMax && len(s.buf)+len(data) <= cap(s.buf)-2 {
		s.buf = append(s.buf, data...)
		if s.chunk {
			s.buf = append(s.buf, '\r', '\n')
		}
		return nil
	}
	s.parts[0], s.parts[1], s.parts[2] = s.buf, data, nil
	if s.chunk {
		s.parts[2] = crlf
	}
	s.vec = s.parts[:]
	return s.done(s.writeVec())
}

var crlf = []byte("\r\n")

func (s *sink) writeVec() (int64, error) {
	s.waiting()
	if c, ok := s.conn.(*sock); ok {
		return c.writeVec(&s.vec)
	}
	return s.vec.WriteTo(s.conn)
}

// flush writes what was gathered.
func (s *sink) flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	s.waiting()
	n, err := s.conn.Write(s.buf)
	return s.done(int64(n), err)
}

func (s *sink) waiting() {
	if s.stall != nil {
		s.stall.Store(s.clock.Load())
	}
}

func (s *sink) done(n int64, err error) error {
	if s.stall != nil {
		s.stall.Store(0)
	}
	s.buf = s.buf[:0]
	s.wrote += n
	s.any = s.any || n > 0
	s.last.Store(s.clock.Load())
	return err
}
