package rofs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/unifaas/unifaas/internal/host/sparse"
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
	top, err := root.Open(".")
	if err != nil {
		return 0, err
	}
	defer func() { _ = top.Close() }()
	s, err := newScan(ctx, root, top, changes.Extras)
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

// copyFile copies the content of the tree's file at p to offset of w, without
// its holes.
func (s *scan) copyFile(w *os.File, p string, size, offset int64) error {
	f, err := s.open(p, unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() != size {
		return errors.Join(err, sparse.ErrChanged)
	}
	if err := sparse.Copy(w, offset, f, size); err != nil {
		return err
	}
	return sparse.Unchanged(f, info)
}
