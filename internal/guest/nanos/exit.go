package nanos

import (
	"fmt"
	"io"
	"strings"

	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/nanos/disk"
)

// lastSignal is the greatest that there is.
const lastSignal = 64

// Exit reads how a program ended. The kernel tells of a failure alone, and in one
// number: an exit status, or the signal that ended the program, after a last
// line that says what became of it.
func (s *System) Exit(r io.ReaderAt) (e guest.Exit, ok bool) {
	words, ok := disk.LastWords(r)
	if !ok {
		return e, false
	}
	e.Code = words.Code
	text := strings.ToLower(words.Text)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	switch {
	case strings.Contains(text, "out of memory"):
		e.OutOfMemory = true
	case (last == "core dump" || last == "terminate") && e.Code > 0 && e.Code <= lastSignal:
		e.Code, e.Signal = -1, words.Code
	case e.Code == haltCode:
		e.Code, e.Reason = -1, fmt.Sprintf("the unikernel's own kernel failed: %.200s", last)
	}
	return e, true
}

// haltCode is how the kernel ends when it itself can't go on (Nanos,
// src/runtime/runtime.h).
const haltCode = 0x7f
