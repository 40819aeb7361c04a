package made

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
)

// Name begins the name of each file that is made of a root file system.
func Name(img faas.Image) string {
	sum := sha256.Sum256([]byte(img.Digest))
	return hex.EncodeToString(sum[:16])
}

// Want notes that files are needed, by the time of their last access: that of their
// content stays.
func Want(paths ...string) error {
	var errs []error
	for _, path := range paths {
		errs = append(errs, os.Chtimes(path, time.Now(), time.Time{}))
	}
	return errors.Join(errs...)
}

// wanted is when a file was needed last.
func wanted(info os.FileInfo) time.Time {
	return time.Unix(info.Sys().(*syscall.Stat_t).Atim.Unix())
}

// Unwanted is for how long a file stays, at the least, that may be needed again:
// to go back to it must not take as long as to make it.
const Unwanted = 24 * time.Hour

// Prune removes the files in dir that have not been wanted for grace: a revision
// that is being loaded is in nobody's list yet. Those of an image of keep stay
// for [Unwanted]: other revisions of the same root file system have others.
// Machines that run hold theirs open.
func Prune(dir string, keep []faas.Image, grace time.Duration) error {
	kept := map[string]bool{}
	for _, img := range keep {
		kept[Name(img)] = true
	}
	return prune(dir, func(file string) time.Duration {
		if strings.HasPrefix(file, temporary) {
			return max(grace, writing)
		}
		name, _, _ := strings.Cut(file, ".")
		name, _, _ = strings.Cut(name, "-")
		if kept[name] {
			return max(grace, Unwanted)
		}
		return grace
	})
}

// PruneShared is Prune for files that are made of no function's image.
func PruneShared(dir string, grace time.Duration) error {
	return prune(dir, func(string) time.Duration { return max(grace, Unwanted) })
}

// writing is for how long what is being written stays at the least.
const writing = time.Hour

func prune(dir string, grace func(file string) time.Duration) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && time.Since(wanted(info)) > grace(e.Name()) {
			errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}
