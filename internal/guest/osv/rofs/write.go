package rofs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Write writes an image of the tree below dir, with changes, to w from offset
// at, and returns its length in bytes: whole blocks. What w holds there already
// must be zero, as beyond the end of a file; holes of files stay holes. No
// symbolic link of the tree is followed, and nothing outside dir is read. The
// tree must not change meanwhile; a file that does is an error. ctx is asked
// between files.
func Write(ctx context.Context, w *os.File, at int64, dir string, changes Changes) (size int64, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer func() { _ = root.Close() }()
	s, err := newScan(ctx, root, changes.Extras)
	if err != nil {
		return 0, fmt.Errorf("read tree %q: %w", dir, err)
	}
	sb := s.layout()
	if _, err := w.WriteAt(sb.encode(), at); err != nil {
		return 0, fmt.Errorf("write image: %w", err)
	}
	if err := s.writeData(ctx, w, at); err != nil {
		return 0, err
	}
	if err := s.edit(w, at, changes.Edits); err != nil {
		return 0, err
	}
	if err := s.writeTables(io.NewOffsetWriter(w, at+int64(sb.tables)*BlockSize)); err != nil {
		return 0, fmt.Errorf("write image: %w", err)
	}
	size = int64(sb.tables+sb.tableBlocks) * BlockSize
	// The end of the last block may have been left out.
	if info, err := w.Stat(); err != nil || info.Size() < at+size {
		if err = errors.Join(err, w.Truncate(at+size)); err != nil {
			return 0, fmt.Errorf("write image: %w", err)
		}
	}
	return size, nil
}

// layout gives every file its blocks and returns the superblock.
func (s *scan) layout() super {
	next, tables := int64(1), int64(len(s.nodes))*inodeSize
	for i := range s.nodes {
		n := &s.nodes[i]
		if i > 0 {
			tables += entryHead + int64(len(n.name))
		}
		switch n.mode {
		case modeFile:
			if n.same != 0 {
				n.block = s.nodes[n.same].block
				continue
			}
			n.block = next
			next += blocksFor(n.size)
		case modeLink:
			tables += linkHead + int64(len(n.text))
		}
	}
	return super{
		tables: uint64(next), tableBlocks: uint64(blocksFor(tables)),
		entryCount: uint64(len(s.nodes) - 1), linkCount: uint64(s.links), inodeCount: uint64(len(s.nodes)),
	}
}

// writeData writes the content of all files.
func (s *scan) writeData(ctx context.Context, w *os.File, at int64) error {
	for i := range s.nodes {
		n := &s.nodes[i]
		if n.mode != modeFile || n.size == 0 || n.same != 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if offset := at + n.block*BlockSize; n.extra {
			_, err = w.WriteAt([]byte(n.text), offset)
		} else {
			err = s.copyFile(w, relative(s.path(int32(i))), n.size, offset)
		}
		if err != nil {
			return fmt.Errorf("write %q to image: %w", s.path(int32(i)), err)
		}
	}
	return nil
}

// edit changes what has been written of files.
func (s *scan) edit(w io.WriterAt, at int64, edits []Edit) error {
	for _, e := range edits {
		n := s.find(e.Path)
		if n == nil || n.mode != modeFile || e.At < 0 || e.At > n.size-int64(len(e.Bytes)) {
			return fmt.Errorf("edit %q: it is no file of the tree with %d bytes at %d", e.Path, len(e.Bytes), e.At)
		}
		if _, err := w.WriteAt(e.Bytes, at+n.block*BlockSize+e.At); err != nil {
			return fmt.Errorf("edit %q: %w", e.Path, err)
		}
	}
	return nil
}

// writeTables writes the entries of folders, the targets of links, the inodes.
func (s *scan) writeTables(w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10)
	var b []byte
	put := func() error {
		_, err := out.Write(b)
		b = b[:0]
		return err
	}
	for i, n := range s.nodes[1:] {
		b = appendEntry(b, n.name, uint64(i+1)+rootInode)
		if err := put(); err != nil {
			return err
		}
	}
	for i := range s.nodes {
		if n := &s.nodes[i]; n.mode == modeLink {
			b = appendLink(b, n.text)
			if err := put(); err != nil {
				return err
			}
		}
	}
	for i := range s.nodes {
		b = s.nodes[i].inode(i).append(b)
		if err := put(); err != nil {
			return err
		}
	}
	return out.Flush()
}

// inode returns the inode of the node with index i.
func (n *node) inode(i int) inode {
	in := inode{mode: uint64(n.mode), number: uint64(i) + rootInode, offset: uint64(n.block)}
	switch n.mode {
	case modeDir:
		in.offset, in.count = uint64(n.first-1), uint64(n.count)
	case modeFile:
		in.count = uint64(n.size)
	case modeLink:
		in.count = 1
	}
	return in
}

var errChanged = errors.New("the file changed while it was read")

// copyFile copies the content of the tree's file at p to offset of w, without
// its holes.
func (s *scan) copyFile(w *os.File, p string, size, offset int64) error {
	f, err := s.root.OpenFile(p, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() != size {
		return errors.Join(err, errChanged)
	}
	for at := int64(0); at < size; {
		from, to, err := extent(f, at, size)
		if err != nil {
			return err
		}
		if err := copyRange(w, offset+from, f, from, to-from); err != nil {
			return err
		}
		at = to
	}
	return nil
}

// extent returns the first data of f from at on; both are size where there are
// only holes.
func extent(f *os.File, at, size int64) (from, to int64, err error) {
	from, err = f.Seek(at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, size, nil
	case errors.Is(err, unix.EINVAL): // a file system that does not know holes
		return at, size, nil
	case err != nil:
		return 0, 0, err
	}
	to, err = f.Seek(from, unix.SEEK_HOLE)
	return min(from, size), min(to, size), err
}

// copyRange copies length bytes. Seeking and copying, rather than reading and
// writing at an offset, lets the kernel copy, or share the blocks where the file
// system can.
func copyRange(w *os.File, offset int64, f *os.File, from, length int64) error {
	if length == 0 {
		return nil
	}
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return err
	}
	if _, err := w.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	copied, err := io.Copy(w, io.LimitReader(f, length))
	if err == nil && copied != length {
		err = errChanged
	}
	return err
}
