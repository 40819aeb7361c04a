// Package archive writes root file systems as archives, for those who take
// nothing else.
package archive

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// xattrRecord is the prefix by which a tar in PAX format holds extended
// attributes; star(1) began it.
const xattrRecord = "SCHILY.xattr."

// Options are how what is written differs from what is there.
type Options struct {
	// Owner0 makes everything root's: of a tree that an ordinary user unpacked,
	// the owners mean nothing.
	Owner0 bool
	// Directories are paths, with a slash before them, that the archive has as
	// empty folders of root where the tree has nothing.
	Directories []string
}

// A tarWriter writes a folder as a tar, file by file: nothing is held.
type tarWriter struct {
	w     *tar.Writer
	root  *os.Root
	dir   string
	opts  Options
	links map[fileID]string // the first name of a file that has several
}

type fileID struct{ dev, ino uint64 }

// Tar writes the root file system in dir to w: owners, modes, times, links and
// extended attributes as they are, but for opts. ctx is asked between files.
func Tar(ctx context.Context, w io.Writer, dir string, opts Options) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	t := &tarWriter{w: tar.NewWriter(w), root: root, dir: dir, opts: opts, links: map[fileID]string{}}
	// os.Root keeps the walk below dir, whatever links there are.
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		return t.entry(path, d, cmp.Or(err, ctx.Err()))
	})
	if err == nil {
		err = t.directories()
	}
	if err != nil {
		return fmt.Errorf("read root file system %q: %w", dir, err)
	}
	return t.w.Close()
}

func (t *tarWriter) entry(path string, d fs.DirEntry, err error) error {
	if err != nil || path == "." {
		return err
	}
	info, err := d.Info()
	if err != nil {
		return err
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = t.root.Readlink(path); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	header.Name, header.Format = path, tar.FormatPAX
	header.Uname, header.Gname = "", "" // the host's names mean nothing inside
	if t.opts.Owner0 {
		header.Uid, header.Gid = 0, 0
	}
	if info.IsDir() {
		header.Name += "/"
	}
	if header.PAXRecords, err = t.attributes(path); err != nil {
		return err
	}
	t.link(header, info)
	if err := t.w.WriteHeader(header); err != nil {
		return err
	}
	if header.Typeflag != tar.TypeReg {
		return nil
	}
	return t.content(path)
}

// directories adds the folders that are missing.
func (t *tarWriter) directories() error {
	for _, path := range t.opts.Directories {
		path = strings.TrimPrefix(path, "/")
		_, err := t.root.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			err = t.w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: path + "/", Mode: 0o755, Format: tar.FormatPAX})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// link makes a hard link of a file whose content was written before.
func (t *tarWriter) link(header *tar.Header, info fs.FileInfo) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || header.Typeflag != tar.TypeReg || st.Nlink < 2 {
		return
	}
	id := fileID{st.Dev, st.Ino}
	if first, again := t.links[id]; again {
		header.Typeflag, header.Linkname, header.Size = tar.TypeLink, first, 0
		header.PAXRecords = nil
		return
	}
	t.links[id] = header.Name
}

func (t *tarWriter) content(path string) error {
	f, err := t.root.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = io.Copy(t.w, f)
	return err
}

// attributes returns a file's extended attributes as PAX records.
func (t *tarWriter) attributes(path string) (map[string]string, error) {
	full := filepath.Join(t.dir, path)
	names, err := readAttribute(func(b []byte) (int, error) { return unix.Llistxattr(full, b) })
	if len(names) == 0 || err != nil {
		return nil, err
	}
	records := map[string]string{}
	for name := range strings.SplitSeq(string(bytes.TrimSuffix(names, []byte{0})), "\x00") {
		if !strings.HasPrefix(name, "user.") && name != "security.capability" {
			continue // labels and lists of the host's
		}
		value, err := readAttribute(func(b []byte) (int, error) { return unix.Lgetxattr(full, name, b) })
		if err != nil {
			return nil, err
		}
		records[xattrRecord+name] = string(value)
	}
	return records, nil
}

// readAttribute reads what get fills in, which is short almost always.
func readAttribute(get func([]byte) (int, error)) ([]byte, error) {
	for size := 256; ; size *= 4 {
		b := make([]byte, size)
		n, err := get(b)
		switch {
		case err == nil:
			return b[:n], nil
		case errors.Is(err, unix.ENOTSUP):
			return nil, nil
		case !errors.Is(err, unix.ERANGE) || size > 64<<10:
			return nil, err
		}
	}
}
