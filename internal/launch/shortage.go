package launch

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/unifaas/unifaas/internal/faas"
)

// shortages are the errors by which the kernel says that it has run out of
// something, and what whoever runs the platform can do.
var shortages = []struct {
	errno        syscall.Errno
	what, remedy string
}{
	{syscall.EMFILE, "open files", "raise the platform's limit of open files"},
	{syscall.ENFILE, "open files", "raise fs.file-max"},
	{syscall.ENOSPC, "disk space", "make room where state-dir and run-dir are"},
	{syscall.EDQUOT, "disk space", "raise the quota where state-dir and run-dir are"},
	{syscall.EAGAIN, "processes", "raise the limit of processes (pids.max, ulimit -u, kernel.pid_max)"},
	{syscall.ENOMEM, "memory", "raise reserve-memory, or give the machine more"},
}

// shortage returns err, or, if the cause of a failed start is that the machine
// has run out of something, an error that says so: the function is not to
// blame, and a caller need not see our paths. The cause stays in the chain.
func shortage(rev *faas.Revision, err error) error {
	for _, s := range shortages {
		if errors.Is(err, s.errno) {
			return &faas.Error{Kind: faas.KindUnavailable, Err: err, Message: fmt.Sprintf(
				"function %q: the machine has run out of %s (%v); %s if this stays", rev.Function.Ref, s.what, s.errno, s.remedy)}
		}
	}
	return err
}
