package cas

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/image/tree"
)

// capabilityAttr is where Linux keeps a file's capabilities, see capabilities(7).
const capabilityAttr = "security.capability"

// objectName names the object of a file. Hard links share their inode's
// metadata, so all of that is in the name.
func objectName(n tree.Node) string {
	name := fmt.Sprintf("%s-%o-%d-%d-%d", n.Content, n.Mode, n.UID, n.GID, n.MTime)
	if attrs := n.Capability + n.Xattrs; attrs != "" {
		sum := sha256.Sum256([]byte(attrs))
		name += "-" + hex.EncodeToString(sum[:8])
	}
	return name
}

// ObjectName names the object that holds the file n.
func ObjectName(n tree.Node) string { return objectName(n) }

func (s *Store) objectPath(n tree.Node) string {
	name := objectName(n)
	return s.path("objects", name[:2], name)
}

// write makes a file at path with the content of r and n's metadata. Content
// that isn't what n says is an error: the source has changed.
func (s *Store) write(path string, n tree.Node, r io.Reader) error {
	return s.create(path, n, func(f *os.File) error { return fill(f, n, r) })
}

// create makes a file at path, which content fills, with n's metadata.
func (s *Store) create(path string, n tree.Node, content func(*os.File) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = content(f)
	if err == nil {
		err = s.setMetadata(f, n)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Chtimes(path, time.Unix(n.MTime, 0), time.Unix(n.MTime, 0))
}

func fill(f *os.File, n tree.Node, r io.Reader) error {
	h := sha256.New()
	// One byte more than expected shows a file that has grown.
	size, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(r, n.Size+1))
	if err != nil {
		return err
	}
	if size != n.Size || hex.EncodeToString(h.Sum(nil)) != n.Content {
		return faas.Errorf(faas.KindBusy, "content changed while it was being read")
	}
	return nil
}

// setMetadata sets the owner first: a change of owner clears set-id bits and
// capabilities.
func (s *Store) setMetadata(f *os.File, n tree.Node) error {
	if s.root {
		if err := f.Chown(int(n.UID), int(n.GID)); err != nil {
			return err
		}
	}
	if err := unix.Fchmod(int(f.Fd()), n.Mode); err != nil {
		return &fs.PathError{Op: "fchmod", Path: f.Name(), Err: err}
	}
	if n.Capability != "" {
		if err := unix.Fsetxattr(int(f.Fd()), capabilityAttr, []byte(n.Capability), 0); err != nil {
			return &fs.PathError{Op: "fsetxattr", Path: f.Name(), Err: err}
		}
	}
	return setXattrs(f.Name(), n)
}

// setXattrs sets the attributes of a file or folder, as far as the file
// system has any: no program may rely on those.
func setXattrs(path string, n tree.Node) error {
	attrs, err := tree.DecodeXattrs(n.Xattrs)
	if err != nil {
		return err
	}
	for name, value := range attrs {
		err := unix.Lsetxattr(path, name, []byte(value), 0)
		if err != nil && !errors.Is(err, unix.ENOTSUP) {
			return &fs.PathError{Op: "lsetxattr", Path: path, Err: err}
		}
	}
	return nil
}

// link makes another name for an object. Where the file system has no hard
// links, or no more of them for this object, it copies.
func (s *Store) link(n tree.Node, to string) error {
	from := s.objectPath(n)
	err := linkExisting(from, to)
	if err == nil || !noLinks(err) {
		return err
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := s.write(to, n, f); err != nil {
		return err
	}
	return syncPath(to)
}

func noLinks(err error) bool {
	for _, e := range []error{unix.EMLINK, unix.EPERM, unix.ENOTSUP, unix.ENOSYS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// check tells whether the file at path is what n says.
func (s *Store) check(path string, n tree.Node) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	switch {
	case st.Size != n.Size || hex.EncodeToString(h.Sum(nil)) != n.Content:
		return fmt.Errorf("%q has other content than its name says", path)
	case st.Mode&0o7777 != n.Mode || st.Mtim.Sec != n.MTime:
		return fmt.Errorf("%q has other metadata than its name says", path)
	}
	return nil
}

// linkTries is how often a link to an object that exists is tried.
const linkTries = 20

// linkExisting links an object that is known to be there. Another process
// that adds the same object renames its own over it; when that falls between
// the kernel's look at the name and the link, the link fails with ENOENT, for
// the file looked at has no name any more.
func linkExisting(from, to string) (err error) {
	for range linkTries {
		if err = os.Link(from, to); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if _, missing := os.Lstat(from); missing != nil {
			return err
		}
	}
	return err
}
