package logs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxLine   = 16 << 10 // a longer line is split
	tailLines = 20
	tailBytes = 4 << 10
)

// A Stream is the output of one instance.
type Stream struct {
	collector *Collector
	function  string
	instance  string
	path      string
	pipe      *os.File
	file      *rotating
	pause     sync.Mutex    // held while the reader is being stopped or restarted
	done      chan struct{} // closed when read has returned

	// aside, if not empty, is the folder to which the files go at the end: the
	// function has been removed. Guarded by collector.mu.
	aside string

	partial []byte // a line whose end has not come yet; used by read, or while it is stopped

	mu       sync.Mutex
	tail     []string
	tailSize int
}

// Writer opens the end that an instance writes to. The caller closes it.
func (s *Stream) Writer() (*os.File, error) {
	// Not os.OpenFile, which sets O_NONBLOCK on what the poller can watch: a
	// function that writes faster than the disk takes it must wait, not see
	// EAGAIN.
	fd, err := unix.Open(s.path, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open output FIFO %q for writing: %w", s.path, err)
	}
	return os.NewFile(uintptr(fd), s.path), nil
}

// Tail returns the last lines, at most 20 and about 4 KiB.
func (s *Stream) Tail() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.tail...)
}

// Close takes what is left in the FIFO and stops reading it. The instance
// must have ended, or its further output is lost.
func (s *Stream) Close() error {
	s.pause.Lock()
	defer s.pause.Unlock()
	s.takeRest()
	err := errors.Join(s.pipe.Close(), s.file.close())
	s.collector.forget(s)
	return err
}

// Settle returns once everything that was in the FIFO when it was called has
// been taken. It must not be called after Close.
func (s *Stream) Settle() {
	s.pause.Lock()
	defer s.pause.Unlock()
	s.takeRest()
	_ = s.pipe.SetReadDeadline(time.Time{})
	s.done = make(chan struct{})
	go s.read(s.done)
}

// takeRest stops the reader and empties the FIFO. A FIFO that is open for
// writing on our side too has no end that a reader could wait for.
func (s *Stream) takeRest() {
	// A deadline in the past ends a Read that waits.
	_ = s.pipe.SetReadDeadline(time.Unix(1, 0))
	<-s.done
	s.drain()
	s.flush()
}

func (s *Stream) read(done chan<- struct{}) {
	defer close(done)
	buf := make([]byte, 8<<10)
	for {
		n, err := s.pipe.Read(buf)
		s.take(buf[:n])
		if err != nil {
			return
		}
	}
}

func (s *Stream) drain() {
	raw, err := s.pipe.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 8<<10)
	// At most what a FIFO can hold: a process that outlived its instance must
	// not keep us here.
	for range 1 << 20 / len(buf) {
		var n int
		if err := raw.Control(func(fd uintptr) { n, err = unix.Read(int(fd), buf) }); err != nil || n <= 0 {
			return
		}
		s.take(buf[:n])
	}
}

// take splits data into lines and emits those that are whole.
func (s *Stream) take(data []byte) {
	for len(data) > 0 {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			s.partial = append(s.partial, data...)
			if len(s.partial) >= maxLine {
				s.flush()
			}
			return
		}
		if len(s.partial) > 0 {
			s.partial = append(s.partial, data[:i]...)
			s.flush()
		} else {
			s.emit(data[:i])
		}
		data = data[i+1:]
	}
}

func (s *Stream) flush() {
	if len(s.partial) > 0 {
		s.emit(s.partial)
		s.partial = s.partial[:0]
	}
}

func (s *Stream) emit(line []byte) {
	entry := Entry{Time: time.Now().UTC(), Function: s.function, Instance: s.instance, Text: string(line)}
	s.remember(entry.Text)
	if err := s.file.write(entry); err != nil {
		s.collector.writeFailed(s, err)
	}
	s.collector.publish(entry)
}

func (s *Stream) remember(line string) {
	if len(line) > tailBytes/4 {
		line = line[:tailBytes/4] + "..."
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tail = append(s.tail, line)
	s.tailSize += len(line)
	for len(s.tail) > tailLines || s.tailSize > tailBytes {
		s.tailSize -= len(s.tail[0])
		s.tail = s.tail[1:]
	}
}
