package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// An archive writes an initial file system in the format "newc" (Linux,
// Documentation/driver-api/early-userspace/buffer-format.rst). Folders are
// made as they are needed. The first error is kept and returned by close.
type archive struct {
	w     *bufio.Writer
	err   error
	inode int
	have  map[string]bool // paths, without the leading slash
}

func newArchive(w io.Writer) *archive {
	return &archive{w: bufio.NewWriterSize(w, 1<<20), have: map[string]bool{}}
}

// Bits of a file's mode as the archive has them, stat(2)'s.
const (
	typeFile   = 0o100000
	typeFolder = 0o040000
	typeLink   = 0o120000
)

// file puts the host's file from at name.
func (a *archive) file(name, from string) {
	if a.err != nil {
		return
	}
	f, err := os.Open(from)
	if err != nil {
		a.err = err
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", from)
	}
	if err != nil {
		a.err = err
		return
	}
	a.entry(name, typeFile|uint32(info.Mode().Perm()), info.Size(), f)
}

// text puts a file of that content at name.
func (a *archive) text(name, content string) {
	a.entry(name, typeFile|0o644, int64(len(content)), strings.NewReader(content))
}

// program puts an executable file of that content at name.
func (a *archive) program(name, content string) {
	a.entry(name, typeFile|0o755, int64(len(content)), strings.NewReader(content))
}

// link puts a symbolic link at name.
func (a *archive) link(name, target string) {
	a.entry(name, typeLink|0o777, int64(len(target)), strings.NewReader(target))
}

// tree puts what is in the host's folder from at name.
func (a *archive) tree(name, from string) {
	if a.err != nil {
		return
	}
	a.err = fs.WalkDir(os.DirFS(from), ".", func(sub string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			a.folder(path.Join(name, sub))
		default:
			a.file(path.Join(name, sub), path.Join(from, sub))
		}
		return a.err
	})
}

func (a *archive) folder(name string) {
	if name = clean(name); name != "" && !a.have[name] {
		a.entry(name, typeFolder|0o755, 0, strings.NewReader(""))
	}
}

// close writes the end.
func (a *archive) close() error {
	a.write("TRAILER!!!", 0, 0, strings.NewReader(""))
	if a.err != nil {
		return fmt.Errorf("write initial file system: %w", a.err)
	}
	return a.w.Flush()
}

func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// entry writes one entry, unless there is one of its name, after its folders.
func (a *archive) entry(name string, mode uint32, size int64, content io.Reader) {
	name = clean(name)
	if a.have[name] {
		return
	}
	a.folder(path.Dir(name))
	a.have[name] = true
	a.write(name, mode, size, content)
}

func (a *archive) write(name string, mode uint32, size int64, content io.Reader) {
	if a.err != nil {
		return
	}
	a.inode++
	// Number, mode, owner, group, links, time, size, device (2), device of a
	// device file (2), length of the name with its NUL, checksum.
	fields := []int64{int64(a.inode), int64(mode), 0, 0, 1, 0, size, 0, 0, 0, 0, int64(len(name) + 1), 0}
	var head strings.Builder
	head.WriteString("070701")
	for _, f := range fields {
		fmt.Fprintf(&head, "%08X", f)
	}
	head.WriteString(name + "\x00")
	head.WriteString(padding(int64(head.Len())))
	if _, a.err = a.w.WriteString(head.String()); a.err != nil {
		return
	}
	if _, a.err = io.CopyN(a.w, content, size); a.err != nil {
		return
	}
	_, a.err = a.w.WriteString(padding(size))
}

// padding fills up to a multiple of four.
func padding(length int64) string { return strings.Repeat("\x00", int((4-length%4)%4)) }
