package cpio

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// A Writer writes an archive. Folders are made as they are needed; of two
// entries with one name the first counts. The first error is kept and returned
// by Close.
type Writer struct {
	w     *bufio.Writer
	err   error
	inode int
	have  map[string]bool // paths, without the leading slash
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: bufio.NewWriterSize(w, 1<<20), have: map[string]bool{}}
}

// Bits of a file's mode as the archive has them, stat(2)'s.
const (
	typeFile   = 0o100000
	typeFolder = 0o040000
	typeLink   = 0o120000
	typeDevice = 0o020000
	typeMask   = 0o170000
)

// File puts the host's file from at name.
func (a *Writer) File(name, from string) {
	if a.err != nil {
		return
	}
	f, err := os.Open(from)
	if err != nil {
		a.err = err
		return
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", from)
	}
	if err != nil {
		a.err = err
		return
	}
	a.entry(name, header{mode: typeFile | uint32(info.Mode().Perm()), size: info.Size()}, f)
}

// Text puts a file of that content at name.
func (a *Writer) Text(name, content string) {
	a.entry(name, header{mode: typeFile | 0o644, size: int64(len(content))}, strings.NewReader(content))
}

// Program puts an executable file of that content at name.
func (a *Writer) Program(name, content string) {
	a.entry(name, header{mode: typeFile | 0o755, size: int64(len(content))}, strings.NewReader(content))
}

// Link puts a symbolic link at name.
func (a *Writer) Link(name, target string) {
	a.entry(name, header{mode: typeLink | 0o777, size: int64(len(target))}, strings.NewReader(target))
}

// Device puts a character device at name.
func (a *Writer) Device(name string, major, minor uint32) {
	a.entry(name, header{mode: typeDevice | 0o600, major: major, minor: minor}, strings.NewReader(""))
}

// A Change is what the archive has in place of what a tree's file is.
type Change struct {
	// Owner0 gives every file to user and group 0.
	Owner0 bool
}

// Tree puts what is in the host's folder from at name, in the order of its
// names, as it is there. No symbolic link is followed. Sockets, pipes and
// devices, which no image has a use for, are left out.
func (a *Writer) Tree(name, from string, change Change) {
	if a.err != nil {
		return
	}
	root, err := os.OpenRoot(from)
	if err != nil {
		a.err = err
		return
	}
	defer func() { _ = root.Close() }()
	a.err = fs.WalkDir(root.FS(), ".", func(sub string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		a.member(root, path.Join(name, sub), sub, change)
		return a.err
	})
}

// member puts one file of a tree.
func (a *Writer) member(root *os.Root, name, sub string, change Change) {
	info, err := root.Lstat(sub)
	if err != nil {
		a.err = err
		return
	}
	st := info.Sys().(*syscall.Stat_t)
	h := header{mode: st.Mode, uid: st.Uid, gid: st.Gid, size: info.Size()}
	if change.Owner0 {
		h.uid, h.gid = 0, 0
	}
	switch h.mode & typeMask {
	case typeFolder:
		h.size = 0
		a.entry(name, h, strings.NewReader(""))
	case typeLink:
		target, err := root.Readlink(sub)
		a.err = err
		a.entry(name, h, strings.NewReader(target))
	case typeFile:
		f, err := root.OpenFile(sub, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			a.err = err
			return
		}
		a.entry(name, h, f)
		_ = f.Close()
	}
}

// Folder makes a folder unless it is there.
func (a *Writer) Folder(name string) { a.FolderMode(name, 0o755) }

// FolderMode makes a folder with these permissions, stat(2)'s, unless it is
// there.
func (a *Writer) FolderMode(name string, mode uint32) {
	if name = clean(name); name != "" && !a.have[name] {
		a.entry(name, header{mode: typeFolder | mode}, strings.NewReader(""))
	}
}

// Close writes the end.
func (a *Writer) Close() error {
	a.write(trailer, header{}, strings.NewReader(""))
	if a.err != nil {
		return fmt.Errorf("write initial file system: %w", a.err)
	}
	return a.w.Flush()
}

// trailer is the name of the entry that ends an archive.
const trailer = "TRAILER!!!"

func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// A header is what the archive tells of a file.
type header struct {
	mode, uid, gid uint32
	size           int64
	major, minor   uint32
}

// entry writes one entry, unless there is one of its name, after its folders.
func (a *Writer) entry(name string, h header, content io.Reader) {
	name = clean(name)
	if name == "" || a.have[name] {
		return
	}
	a.Folder(path.Dir(name))
	a.have[name] = true
	a.write(name, h, content)
}

func (a *Writer) write(name string, h header, content io.Reader) {
	if a.err != nil {
		return
	}
	if h.size > 1<<32-1 {
		a.err = fmt.Errorf("%s is too large for an initial file system", name)
		return
	}
	a.inode++
	// Number, mode, owner, group, links, time, size, device (2), device of a
	// device file (2), length of the name with its NUL, checksum.
	fields := []int64{
		int64(a.inode), int64(h.mode), int64(h.uid), int64(h.gid), 1, 0, h.size, 0, 0,
		int64(h.major), int64(h.minor), int64(len(name) + 1), 0,
	}
	var head strings.Builder
	head.WriteString(magic)
	for _, f := range fields {
		fmt.Fprintf(&head, "%08X", f)
	}
	head.WriteString(name + "\x00")
	head.WriteString(padding(int64(head.Len())))
	if _, a.err = a.w.WriteString(head.String()); a.err != nil {
		return
	}
	if _, err := io.CopyN(a.w, content, h.size); err != nil {
		a.err = fmt.Errorf("put %s: %w", name, err)
		return
	}
	_, a.err = a.w.WriteString(padding(h.size))
}

// padding fills up to a multiple of four.
func padding(length int64) string { return strings.Repeat("\x00", int((4-length%4)%4)) }
