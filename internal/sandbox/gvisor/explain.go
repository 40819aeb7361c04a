package gvisor

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/unifaas/unifaas/internal/faas"
)

// explain turns a start's error into one for people, with the sandbox's own
// words where it left some. What the machine has run out of is in the chain
// as the kernel's error, for the launcher to tell.
func (s *starter) explain(ctx context.Context, err error) error {
	ref := s.art.rev.Function.Ref
	if ctx.Err() != nil {
		return faas.Errorf(faas.KindOf(ctx.Err()), "start function %q in gVisor: %w", ref, err)
	}
	if faas.KindOf(err) == faas.KindUnavailable {
		return faas.Errorf(faas.KindUnavailable, "start function %q in gVisor: %w", ref, err)
	}
	kind := faas.KindBroken
	if words := firstLine(s.inst.diagnostics); words != "" {
		err = fmt.Errorf("%w: %s", err, words)
	}
	if short := s.inst.shortage(err); short != nil {
		kind, err = faas.KindUnavailable, fmt.Errorf("%w: %w", short, err)
	}
	return faas.Errorf(kind, "start function %q in gVisor: %w", ref, err)
}

// shortages are the words in which a sandbox says that the host has refused
// it something: Go's runtime of a thread, the C-like text of an errno of
// anything else.
var shortages = []struct {
	words string
	errno syscall.Errno
}{
	{"failed to create new os thread", syscall.EAGAIN},
	{"resource temporarily unavailable", syscall.EAGAIN},
	{"cannot allocate memory", syscall.ENOMEM},
	{"too many open files", syscall.EMFILE},
	{"no space left on device", syscall.ENOSPC},
}

// shortage returns what the host lacked by what the sandbox, or err, says; nil
// if that isn't it.
func (i *instance) shortage(err error) error {
	text := strings.ToLower(lastWords(i.diagnostics))
	if err != nil {
		text += strings.ToLower(err.Error())
	}
	for _, s := range shortages {
		if strings.Contains(text, s.words) {
			return s.errno
		}
	}
	return nil
}

// wordsSize bounds what is read of a sandbox's diagnostics: its reason is at
// the beginning, stacks follow.
const wordsSize = 4 << 10

// lastWords returns the beginning of a sandbox's diagnostics.
func lastWords(f *os.File) string {
	if f == nil {
		return ""
	}
	b := make([]byte, wordsSize)
	n, _ := f.ReadAt(b, 0)
	return string(b[:n])
}

// firstLine returns the first line of a sandbox's diagnostics, bounded.
func firstLine(f *os.File) string {
	words := bytes.TrimSpace([]byte(lastWords(f)))
	line, _, _ := bytes.Cut(words, []byte("\n"))
	return string(line[:min(len(line), 512)])
}
