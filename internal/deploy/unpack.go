package deploy

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
)

// An unpacker makes the files of a tar (POSIX.1-2001, GNU) in a folder that
// nobody else writes to. It takes files, folders and symbolic links; owners,
// set-id bits and extended attributes are not taken over.
type unpacker struct {
	root   *os.Root
	dir    string
	limits Limits
	left   int64                  // bytes
	made   map[string]fs.FileMode // the types of what has been made, by path
	times  []folderTime
}

type folderTime struct {
	name string
	at   time.Time
}

// unpack makes the content of a tar in the empty folder dir. On error part of
// it is there.
func unpack(r io.Reader, dir string, limits Limits) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	u := &unpacker{root: root, dir: dir, limits: limits, left: limits.Bytes, made: map[string]fs.FileMode{}}
	source := &witness{r: r}
	for t := tar.NewReader(source); ; {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return errors.Join(rest(source), u.finish())
		case source.err != nil:
			return source.err
		case err != nil:
			return faas.Errorf(faas.KindInvalid, "bundle: not a whole tar: %w", err)
		}
		if err := u.add(h, t); err != nil {
			if source.err != nil {
				return source.err
			}
			return err
		}
	}
}

// maxRest is how much padding may follow the end of a tar; tar(1) pads to
// blocks of its choice.
const maxRest = 1 << 20

// rest reads what follows the end of a tar.
func rest(source *witness) error {
	n, err := io.Copy(io.Discard, io.LimitReader(source, maxRest+1))
	if err == nil && n > maxRest {
		return faas.Errorf(faas.KindInvalid, "bundle: something follows the tar")
	}
	return err
}

// A witness remembers why its reader failed: that the upload broke off is not
// the tar's fault.
type witness struct {
	r   io.Reader
	err error
}

func (w *witness) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

func (u *unpacker) add(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // comments, as git archive writes them
	}
	name := strings.TrimSuffix(strings.TrimPrefix(h.Name, "./"), "/")
	if h.Typeflag == tar.TypeDir && (name == "" || name == ".") {
		return nil
	}
	if !fs.ValidPath(name) || name == "." || strings.ContainsRune(name, 0) {
		return faas.Errorf(faas.KindInvalid, `bundle: path %q is not one inside of it: it must be relative, without "." and ".."`, h.Name)
	}
	if _, twice := u.made[name]; twice && (h.Typeflag != tar.TypeDir || !u.made[name].IsDir()) {
		return faas.Errorf(faas.KindInvalid, "bundle: %q is in it twice", name)
	}
	if err := u.parents(name); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.folder(name, h)
	case tar.TypeReg:
		return u.file(name, h, content)
	case tar.TypeSymlink:
		return u.link(name, h)
	}
	return faas.Errorf(faas.KindInvalid, "bundle: %q is %s; only files, folders and symbolic links can be deployed", name, typeName(h.Typeflag))
}

func typeName(flag byte) string {
	switch flag {
	case tar.TypeLink:
		return "a hard link"
	case tar.TypeChar, tar.TypeBlock:
		return "a device"
	case tar.TypeFifo:
		return "a FIFO"
	}
	return "of an unknown type"
}

func (u *unpacker) count(name string, mode fs.FileMode) error {
	if len(u.made) >= u.limits.Files {
		return faas.Errorf(faas.KindTooLarge, "bundle: more than %d files and folders; leave out what the function does not need", u.limits.Files)
	}
	u.made[name] = mode
	return nil
}

// parents makes the folders above name that the tar has not told of.
func (u *unpacker) parents(name string) error {
	parent := path.Dir(name)
	if parent == "." {
		return nil
	}
	mode, ok := u.made[parent]
	switch {
	case ok && !mode.IsDir():
		return faas.Errorf(faas.KindInvalid, "bundle: %q is below %q, which is no folder", name, parent)
	case ok:
		return nil
	}
	if err := u.parents(parent); err != nil {
		return err
	}
	return u.mkdir(parent, 0o755)
}

func (u *unpacker) mkdir(name string, mode fs.FileMode) error {
	if err := u.count(name, fs.ModeDir); err != nil {
		return err
	}
	if err := u.root.Mkdir(name, 0o700); err != nil {
		return fileError(name, err)
	}
	return u.root.Chmod(name, mode|0o700) // ours to fill and to remove
}

func (u *unpacker) folder(name string, h *tar.Header) error {
	mode := h.FileInfo().Mode() & (fs.ModePerm | fs.ModeSticky)
	u.times = append(u.times, folderTime{name, h.ModTime})
	if u.made[name].IsDir() {
		return u.root.Chmod(name, mode|0o700)
	}
	return u.mkdir(name, mode)
}

func (u *unpacker) file(name string, h *tar.Header, content io.Reader) error {
	if h.Size > u.left {
		return u.tooLarge()
	}
	if err := u.count(name, 0); err != nil {
		return err
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fileError(name, err)
	}
	n, err := io.Copy(f, io.LimitReader(content, u.left+1))
	u.left -= n
	if err == nil {
		err = f.Chmod(h.FileInfo().Mode().Perm() | 0o400)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fileError(name, err)
	}
	if u.left < 0 {
		return u.tooLarge()
	}
	return u.stamp(name, h.ModTime)
}

func (u *unpacker) tooLarge() error {
	return faas.Errorf(faas.KindTooLarge, "bundle: larger than %d MiB; leave out what the function does not need, or deploy an image from a registry",
		u.limits.Bytes>>20)
}

func (u *unpacker) link(name string, h *tar.Header) error {
	if h.Linkname == "" || strings.ContainsRune(h.Linkname, 0) {
		return faas.Errorf(faas.KindInvalid, "bundle: link %q leads nowhere", name)
	}
	if err := u.count(name, fs.ModeSymlink); err != nil {
		return err
	}
	if err := u.root.Symlink(h.Linkname, name); err != nil {
		return fileError(name, err)
	}
	return u.stamp(name, h.ModTime)
}

// stamp sets the time of a change, which is part of an image's content. The
// path has no links but perhaps its last part, which is not followed.
func (u *unpacker) stamp(name string, at time.Time) error {
	ts, err := unix.TimeToTimespec(at)
	if err != nil {
		return faas.Errorf(faas.KindInvalid, "bundle: %q has an impossible time: %w", name, err)
	}
	err = unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(u.dir, name), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return fileError(name, err)
	}
	return nil
}

// finish sets the times of folders, which making their content has changed.
func (u *unpacker) finish() error {
	for _, t := range u.times {
		if err := u.stamp(t.name, t.at); err != nil {
			return err
		}
	}
	return nil
}
