// Package sparse copies files without their holes.
package sparse

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ErrChanged says that a file was written to, or cut, while it was copied.
var ErrChanged = errors.New("the file changed while it was read")

// Data returns the first run of data from at on in a file of size bytes. Both ends
// are size where only a hole follows. On a file system that knows no holes all is
// data. It moves f's position.
func Data(f *os.File, at, size int64) (from, to int64, err error) {
	from, err = f.Seek(at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, size, nil
	case errors.Is(err, unix.EINVAL):
		return at, size, nil
	case err != nil:
		return 0, 0, err
	}
	to, err = f.Seek(from, unix.SEEK_HOLE)
	return min(from, size), min(to, size), err
}

// CopyRange copies length bytes from position from of f to position to of w. Both
// files' own positions are used, which lets the kernel copy, or share blocks where
// the file system can. A file that ends before is [ErrChanged].
func CopyRange(w *os.File, to int64, f *os.File, from, length int64) error {
	if length == 0 {
		return nil
	}
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return err
	}
	if _, err := w.Seek(to, io.SeekStart); err != nil {
		return err
	}
	n, err := io.Copy(w, io.LimitReader(f, length))
	if err == nil && n != length {
		err = ErrChanged
	}
	return err
}

// Copy copies the data of a file of size bytes to position to of w, which is a hole
// there.
func Copy(w *os.File, to int64, f *os.File, size int64) error {
	for at := int64(0); at < size; {
		begin, end, err := Data(f, at, size)
		if err == nil {
			err = CopyRange(w, to+begin, f, begin, end-begin)
		}
		if err != nil {
			return err
		}
		at = end
	}
	return nil
}

// Unchanged returns [ErrChanged] if a file is not as it was: one that is cut while it
// is copied looks as if it ended with a hole.
func Unchanged(f *os.File, was os.FileInfo) error {
	now, err := f.Stat()
	if err != nil {
		return err
	}
	if now.Size() != was.Size() || !now.ModTime().Equal(was.ModTime()) {
		return ErrChanged
	}
	return nil
}
