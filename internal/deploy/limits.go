package deploy

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
)

// Limits bound one bundle.
type Limits struct {
	Bytes int64 // of all files together; default 1 GiB
	Files int   // files, folders and links; default 100,000
}

func (l *Limits) setDefaults() {
	if l.Bytes <= 0 {
		l.Bytes = 1 << 30
	}
	if l.Files <= 0 {
		l.Files = 100_000
	}
}

// shortage tells what a full disk means for whoever deploys; other errors it
// leaves as they are.
func shortage(dir string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return faas.Errorf(faas.KindBusy, "no space left for deployments in %q; free some, or delete a function: %w", dir, err)
	}
	return err
}

// fileError is what the file system's refusal of an entry of a bundle is to
// its sender: a name too long, a folder where a file is.
func fileError(name string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EIO) {
		return fmt.Errorf("unpack %q: %w", name, err)
	}
	return faas.Errorf(faas.KindInvalid, "bundle: %q can't be made: %w", name, err)
}
