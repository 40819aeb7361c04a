package firecracker

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// A line of Firecracker's log: "TIME [ID:THREAD:LEVEL] TEXT", as written with
// --show-level (src/vmm/src/logger/logging.rs).
type line struct {
	level string // "ERROR", "WARN", "INFO"; "" when the line does not say
	text  string
}

// maxLine bounds what is kept of a line, bytes.
const maxLine = 1 << 10

func parseLine(text string) line {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, text)
	text = strings.TrimSpace(text)
	_, rest, ok := strings.Cut(text, " [")
	origin, message, closed := strings.Cut(rest, "] ")
	if !ok || !closed {
		return line{text: text}
	}
	for part := range strings.SplitSeq(origin, ":") {
		switch part {
		case "ERROR", "WARN", "INFO", "DEBUG", "TRACE":
			return line{level: part, text: strings.TrimSpace(message)}
		}
	}
	return line{text: text}
}

// words are what matters of a log at its machine's end.
type words struct {
	failure  string // the first that says that the guest can't have ended by itself
	shutdown bool   // a processor of the guest was shut down by a triple fault
	fault    string // the last error
	last     string // the last line of all
}

func (w *words) add(l line) {
	if l.text == "" {
		return
	}
	w.last = l.text
	switch {
	case isTripleFault(l.text):
		w.shutdown = true
		return
	case isFailure(l) && w.failure == "":
		w.failure = l.text
	}
	// How it exits is what we are told by its status.
	if l.level == "ERROR" && !strings.HasPrefix(l.text, "Firecracker exiting") && !strings.HasPrefix(l.text, "RunWith") {
		w.fault = l.text
	}
}

// isTripleFault recognises how a guest's triple fault is told: as information
// by old versions, as an exit that was not expected by newer ones.
func isTripleFault(text string) bool {
	return strings.HasPrefix(text, "Received KVM_EXIT_SHUTDOWN") ||
		strings.HasPrefix(text, "Unexpected exit reason on vcpu run: Shutdown")
}

// failures are beginnings of errors after which Firecracker ends the machine
// although the guest has not asked for it; some versions then exit with
// status 0 (src/vmm/src/vstate/vcpu.rs, src/firecracker/src/main.rs).
var failures = []string{
	"Received KVM_EXIT_INTERNAL_ERROR",
	"Received KVM_EXIT_FAIL_ENTRY",
	"Received KVM_SYSTEM_EVENT signal",
	"Received ENOSYS error",
	"Failure during vcpu run",
	"Unexpected exit reason on vcpu run",
	"Firecracker panicked",
}

func isFailure(l line) bool {
	if l.level != "ERROR" {
		return false
	}
	for _, beginning := range failures {
		if strings.HasPrefix(l.text, beginning) {
			return true
		}
	}
	return false
}

// A journal reads a log while its Firecracker runs.
type journal struct {
	file *os.File
	done chan struct{} // closed when the log has ended

	mu    sync.Mutex
	words words
}

// makeLog makes the FIFO and opens both its ends. Firecracker's own end keeps
// it from ending: hold may be closed when that has opened it, and must be.
func makeLog(h home) (j *journal, hold *os.File, err error) {
	path := h.path(logName)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, nil, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	if err := h.give(path); err != nil {
		return nil, nil, err
	}
	if j, err = openLog(h); err != nil {
		return nil, nil, err
	}
	hold, err = os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		j.close()
		return nil, nil, err
	}
	go j.read()
	return j, hold, nil
}

// openLog opens the reading end. It is to be read by [journal.read].
func openLog(h home) (*journal, error) {
	f, err := os.OpenFile(h.path(logName), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open Firecracker's log: %w", err)
	}
	return &journal{file: f, done: make(chan struct{})}, nil
}

func (j *journal) read() {
	defer close(j.done)
	r := bufio.NewReaderSize(j.file, maxLine)
	for {
		text, err := r.ReadSlice('\n')
		j.add(parseLine(string(text)))
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.ReadSlice('\n') // the rest of a line that is too long
		}
		if err != nil {
			return
		}
	}
}

func (j *journal) add(l line) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.words.add(l)
}

// lastWords returns what has been read, when all has been that there is.
// It is for when the process has ended.
func (j *journal) lastWords() words {
	_ = j.file.SetReadDeadline(time.Now().Add(logLinger))
	<-j.done
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.words
}

// logLinger bounds the reading of what a process that has ended has written.
// Nobody else should have the log open.
const logLinger = time.Second

// close ends the reading. It is idempotent.
func (j *journal) close() { _ = j.file.Close() }
