package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/unifaas/unifaas/internal/faas"
)

// exitCodes are the exit codes of unifaas, documented in docs/operating.md.
var exitCodes = map[faas.Kind]int{
	faas.KindInternal:    1,
	faas.KindInvalid:     2,
	faas.KindNotFound:    3,
	faas.KindUnavailable: 4,
	faas.KindBusy:        5,
	faas.KindBroken:      6,
	faas.KindTimeout:     7,
	faas.KindTooLarge:    8,
	faas.KindCanceled:    130, // as after SIGINT in a shell
}

// errQuiet ends a command with the code of its kind and no further words.
type errQuiet struct{ kind faas.Kind }

func (e errQuiet) Error() string { return e.kind.String() }

// fail says err on w and returns its exit code, 0 for nil.
func fail(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	var quiet errQuiet
	if errors.As(err, &quiet) {
		return exitCodes[quiet.kind]
	}
	fmt.Fprintf(w, "unifaas: %v\n", err)
	return exitCodes[faas.KindOf(err)]
}
