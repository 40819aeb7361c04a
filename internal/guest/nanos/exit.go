package nanos

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/nanos/disk"
)

// lastSignal is the greatest that there is.
const lastSignal = 64

// Exit reads how a program ended. The kernel tells of a failure alone, and in one
// number: an exit status, or the signal that ended the program, after which one of
// the last lines says what became of it.
func (s *System) Exit(r io.ReaderAt) (e guest.Exit, ok bool) {
	words, ok := disk.LastWords(r)
	if !ok {
		return e, false
	}
	e.Code = words.Code
	lines := lastLines(words.Text)
	switch {
	case strings.Contains(strings.ToLower(words.Text), "out of memory"):
		e.OutOfMemory = true
	case e.Code > 0 && e.Code <= lastSignal && slices.ContainsFunc(lines, isFate):
		e.Code, e.Signal = -1, words.Code
	case e.Code == haltCode:
		e.Code, e.Reason = -1, fmt.Sprintf("the unikernel's own kernel failed: %.200s", lines[len(lines)-1])
	}
	return e, true
}

// haltCode is how the kernel ends when it itself can't go on (Nanos,
// src/runtime/runtime.h).
const haltCode = 0x7f

// lastLines are the last few lines of a text, at least one.
func lastLines(text string) []string {
	const few = 4
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[max(0, len(lines)-few):]
}

// isFate tells whether a line is what the kernel says of a program that a signal
// ends (Nanos, src/unix/signal.c).
func isFate(line string) bool {
	line = strings.TrimSpace(line)
	return line == "core dump" || line == "terminate"
}
