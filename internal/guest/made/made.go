// Package made keeps the files that guest systems make of functions, in a folder
// of each: by content, written once, and removed when nothing needs them. It
// knows nothing of what is in them.
package made

import (
	"errors"
	"os"
	"path/filepath"
)

// Ensure writes a file unless it is there. It has its name only when it is
// whole and on disk. Of several who write it at once the last wins; they write
// the same.
func Ensure(path string, write func(*os.File) error) (err error) {
	if err := Want(path); err == nil {
		return nil
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, temporary+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	// Monitors run as users of their own.
	if err := errors.Join(f.Chmod(0o444), f.Sync()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// temporary begins the name of a file that is being written.
const temporary = ".new-"
