// Package wire is what the first process of a Linux guest and the host say to
// each other, over a connection that the guest dials. It is linked into the
// guest's first process, which must be small and start fast, so that it imports
// next to nothing; the host's side of the connection is package control.
//
// A frame is a byte, its kind; the length of its payload in four bytes, most
// significant first; and the payload. Payloads are JSON but for output.
//
// The guest says [Hello] first whenever it has dialled, with all of its state,
// then output, each [Phase] and the [Exit] as they come. The host says [Set]
// and [Stop] at any time, and ends the connection when it has the Exit: only
// then does the guest power off.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"strconv"
)

// A Kind is what a frame is about.
type Kind byte

// The kinds of frames.
const (
	KindHello  Kind = 'H' // guest: Hello
	KindOutput Kind = 'O' // guest: bytes that the function has written
	KindPhase  Kind = 'P' // guest: Phase
	KindReady  Kind = 'R' // guest: the function listens on its port; Phase
	KindExit   Kind = 'X' // guest: Exit
	KindSet    Kind = 'T' // host: Set
	KindStop   Kind = 'S' // host: Stop
)

const (
	// HeaderSize is the length of what precedes a payload.
	HeaderSize = 5
	// MaxPayload is the most that a payload may have, in bytes.
	MaxPayload = 64 << 10
)

// Version is that of this protocol.
const Version = 1

// A Hello opens a connection, the first and every later one.
type Hello struct {
	Version int
	ID      string  // of the instance, from the command line
	Kernel  string  // its release
	Phases  []Phase // so far
	Ready   bool
}

// A Phase is a step of the guest's start that has just ended.
type Phase struct {
	Name string
	NS   int64 // since the kernel's start, by its monotonic clock
}

// The names of phases.
const (
	PhaseKernel  = "kernel"  // the first process runs
	PhaseModules = "modules" // drivers are loaded
	PhaseNetwork = "network" // the interface is up
	PhaseRoot    = "root"    // the function's root is mounted
	PhaseStarted = "started" // the function has been executed
	PhaseReady   = "ready"   // it listens on its port
	// PhaseLoopback says that the function listens where the host can't reach
	// it: on a loopback address.
	PhaseLoopback = "loopback"
)

// An Exit tells how the function ended, or why it could not be started.
type Exit struct {
	Code        int    // exit status, -1 when there is none
	Signal      int    // that ended it, 0 when none
	OutOfMemory bool   // the guest's kernel killed it for want of memory
	Reason      string // one line for people; "" when the rest tells all
	NS          int64  // since the kernel's start
}

// A Set gives the guest what a copy of it can't know.
type Set struct {
	Time int64  // nanoseconds since 1970; 0 leaves the clock
	Seed []byte // added to the kernel's entropy, as entropy
}

// A Stop asks the function to end.
type Stop struct {
	Signal int
}

var errTooLong = errors.New("a frame's payload is longer than " + strconv.Itoa(MaxPayload) + " bytes")

// Append appends a frame to b. The payload has at most [MaxPayload] bytes.
func Append(b []byte, kind Kind, payload []byte) []byte {
	b = append(b, byte(kind))
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	return append(b, payload...)
}

// AppendJSON appends a frame whose payload is v, one of this package's types.
func AppendJSON(b []byte, kind Kind, v any) []byte {
	payload, err := json.Marshal(v)
	if err != nil {
		panic(err) // they are made of strings and numbers
	}
	return Append(b, kind, payload)
}

// A Splitter finds frames in bytes that come in pieces.
type Splitter struct {
	pending []byte
}

// Write adds bytes.
func (s *Splitter) Write(b []byte) { s.pending = append(s.pending, b...) }

// Next returns the next whole frame, or false. The payload is valid until the
// next call of Write.
func (s *Splitter) Next() (kind Kind, payload []byte, ok bool, err error) {
	if len(s.pending) < HeaderSize {
		return 0, nil, false, nil
	}
	kind, length, err := Header(s.pending)
	if err != nil {
		return 0, nil, false, err
	}
	end := HeaderSize + length
	if len(s.pending) < end {
		return 0, nil, false, nil
	}
	payload = s.pending[HeaderSize:end]
	s.pending = s.pending[end:]
	return kind, payload, true, nil
}

// Header decodes the first [HeaderSize] bytes of a frame.
func Header(b []byte) (kind Kind, length int, err error) {
	n := binary.BigEndian.Uint32(b[1:])
	if n > MaxPayload {
		return 0, 0, errTooLong
	}
	return Kind(b[0]), int(n), nil
}

// A Reader reads frames.
type Reader struct {
	r      io.Reader
	buffer []byte
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next returns the next frame, or [io.EOF] when r ends between two. The payload
// is valid until the next call.
func (r *Reader) Next() (Kind, []byte, error) {
	var header [HeaderSize]byte
	if _, err := io.ReadFull(r.r, header[:]); err != nil {
		return 0, nil, err
	}
	kind, length, err := Header(header[:])
	if err != nil {
		return 0, nil, err
	}
	if cap(r.buffer) < length {
		r.buffer = make([]byte, length)
	}
	payload := r.buffer[:length]
	if _, err := io.ReadFull(r.r, payload); err != nil {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return kind, payload, nil
}
