package nanos

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/unifaas/unifaas/internal/guest"
	"github.com/unifaas/unifaas/internal/guest/nanos/disk"
)

// lastSignal is the greatest that there is.
const lastSignal = 64

// Exit reads how a program ended. The kernel tells of a failure alone, and in one
// number: an exit status, or the signal that ended the program, after which one of
// the last lines says what became of it. The program's own output is among those:
// only what the kernel says, as it says it, counts.
func (s *System) Exit(r io.ReaderAt) (e guest.Exit, ok bool) {
	words, ok := disk.LastWords(r)
	if !ok {
		return e, false
	}
	e.Code = words.Code
	lines := strings.Split(strings.TrimRight(words.Text, "\r\n"), "\n")
	last := lines[max(0, len(lines)-few):]
	switch {
	case slices.ContainsFunc(lines, outOfMemory.MatchString):
		e.OutOfMemory = true
	case e.Code > 0 && e.Code <= lastSignal && slices.ContainsFunc(last, isFate):
		e.Code, e.Signal = -1, words.Code
	case e.Code == haltCode:
		e.Reason = fmt.Sprintf("exit status %d, the program's own or that of the unikernel's kernel when it fails: %.200s", haltCode, last[len(last)-1])
	}
	return e, true
}

// few is among how many of the last lines the kernel's are.
const few = 4

// haltCode is how the kernel ends when it itself can't go on (Nanos,
// src/runtime/runtime.h).
const haltCode = 0x7f

// outOfMemory is what the kernel says when it has none, for the program (Nanos,
// src/unix/unix.c) or for itself (src/kernel/kernel.c).
var outOfMemory = regexp.MustCompile(`(^| )(page fault: out of memory, program killed|Out of memory: cannot allocate [0-9]+ bytes)\r?$`)

// isFate tells whether a line is what the kernel says of a program that a signal
// ends (Nanos, src/unix/signal.c).
func isFate(line string) bool {
	line = strings.TrimRight(line, "\r")
	return line == "   core dump" || line == "   terminate"
}
